"""Prompt templates, their labels, optimisation and evaluation."""
