"""Evaluation: model versions answer a dataset, and their answers are scored by rules, by a judge, or by people."""
