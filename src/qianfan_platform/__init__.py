"""The platform: what an operator runs with `qianfan serve`. See ARCHITECTURE.md for its rooms."""
