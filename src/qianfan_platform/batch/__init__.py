"""Batch inference: a model answers every line of a file."""
