"""Cleaning tasks: operators that turn one dataset of texts into another."""
