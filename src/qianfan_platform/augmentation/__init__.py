"""Augmentation tasks: a model writes more records after the pattern of a dataset."""
