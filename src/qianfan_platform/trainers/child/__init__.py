"""The training process. Only `trainers.run` starts it; the server never imports it, nor torch."""
