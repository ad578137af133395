"""Amazon Bedrock's Converse and ConverseStream as an adapter. Pure; performs no I/O."""

from dispatch_app.providers.bedrock_converse.errors import read_error
from dispatch_app.providers.bedrock_converse.reply import parse_reply
from dispatch_app.providers.bedrock_converse.request import build, dropped, prepare
from dispatch_app.providers.bedrock_converse.stream import stream_decoder

REPLY_MEDIA_TYPE = "application/json"
STREAM_MEDIA_TYPE = "application/vnd.amazon.eventstream"

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
