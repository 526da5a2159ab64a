"""A console on a loopback port."""

from __future__ import annotations

from tests.console import both_stores, serve, small_store

__all__ = ["both_stores", "serve", "small_store"]
