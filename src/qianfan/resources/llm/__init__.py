"""Calls that ask a model."""
