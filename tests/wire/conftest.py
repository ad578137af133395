"""Clients for the modules of this folder that have a `key` and none of their own."""

from tests.wire.behind import claude, client

__all__ = ["claude", "client"]
