"""Amazon Bedrock's Converse and ConverseStream, as far as the vendor speaks them. See `sandbox.formats.WireFormat`."""

from sandbox.bedrock.credentials import authenticate
from sandbox.bedrock.replies import render_events, render_refusal, render_reply
from sandbox.bedrock.requests import caches_prompt, is_converse, read_chat
from sandbox.faults import ErrorShape

ERROR_SHAPE = ErrorShape.BEDROCK
BILLS_CACHE_WRITES = True

__all__ = [
    "BILLS_CACHE_WRITES",
    "ERROR_SHAPE",
    "authenticate",
    "caches_prompt",
    "is_converse",
    "read_chat",
    "render_events",
    "render_refusal",
    "render_reply",
]
