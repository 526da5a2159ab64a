"""Rows kept by the platform: import, export, release."""
