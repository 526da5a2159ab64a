"""Deployed services, and the engines that answer for them."""
