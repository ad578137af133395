"""Google's Gemini API (`generateContent`) as an adapter. Pure; performs no I/O."""

from dispatch_app.providers.gemini.errors import read_error
from dispatch_app.providers.gemini.reply import parse_reply, stream_decoder
from dispatch_app.providers.gemini.request import build, dropped, prepare

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
