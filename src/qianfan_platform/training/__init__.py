"""Fine-tuning tasks and runs."""
