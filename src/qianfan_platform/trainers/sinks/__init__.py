"""Where the figures of a run go besides the platform's own tables: TensorBoard files, and services of others."""
