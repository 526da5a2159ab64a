"""Calls that manage the platform: data, fine-tuning, models, services, prompts."""
