"""Google's Gemini API (`generateContent`), as far as the vendor speaks it. See `sandbox.formats.WireFormat`."""

from sandbox.faults import ErrorShape
from sandbox.gemini.catalogue import render_models
from sandbox.gemini.credentials import authenticate
from sandbox.gemini.replies import render_events, render_refusal, render_reply
from sandbox.gemini.requests import caches_prompt, is_gemini, read_chat

ERROR_SHAPE = ErrorShape.GEMINI
BILLS_CACHE_WRITES = False

__all__ = [
    "BILLS_CACHE_WRITES",
    "ERROR_SHAPE",
    "authenticate",
    "caches_prompt",
    "is_gemini",
    "read_chat",
    "render_events",
    "render_models",
    "render_refusal",
    "render_reply",
]
