"""Anthropic's Messages, as far as the vendor speaks them. See `sandbox.formats.WireFormat`."""

from sandbox.anthropic.replies import render_events, render_refusal, render_reply
from sandbox.anthropic.requests import authenticate, caches_prompt, is_message, read_chat
from sandbox.faults import ErrorShape

ERROR_SHAPE = ErrorShape.ANTHROPIC
BILLS_CACHE_WRITES = True

__all__ = [
    "BILLS_CACHE_WRITES",
    "ERROR_SHAPE",
    "authenticate",
    "caches_prompt",
    "is_message",
    "read_chat",
    "render_events",
    "render_refusal",
    "render_reply",
]
