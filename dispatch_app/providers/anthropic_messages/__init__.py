"""Anthropic's Messages API as an adapter. Pure; performs no I/O."""

from dispatch_app.providers.anthropic_messages.errors import read_error
from dispatch_app.providers.anthropic_messages.reply import parse_reply
from dispatch_app.providers.anthropic_messages.request import build, dropped, prepare
from dispatch_app.providers.anthropic_messages.stream import stream_decoder

REPLY_MEDIA_TYPE = "application/json"
STREAM_MEDIA_TYPE = "text/event-stream"

__all__ = [
    "REPLY_MEDIA_TYPE",
    "STREAM_MEDIA_TYPE",
    "build",
    "dropped",
    "parse_reply",
    "prepare",
    "read_error",
    "stream_decoder",
]
