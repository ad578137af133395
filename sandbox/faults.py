"""Everything that a vendor can do wrong, by name, and the figures of it."""

import time
from email.utils import formatdate
from enum import StrEnum
from typing import Any

from sandbox.speech import Speech


class FaultKind(StrEnum):
    """What goes wrong. The fields of `Fault` that a kind reads stand behind it.

    A kind that is about events leaves a plain reply as it is.
    """

    DELAY = "delay"  # delay_ms and the other delays; every other kind reads these too
    STATUS = "status"  # status, retry_after, retry_after_date_s, and what `ErrorShape` says of the body
    HANG = "hang"  # falls silent before the headers, after_head_bytes of them, or after_bytes of the body
    CUT = "cut"  # closes the connection at the same places
    RESET = "reset"  # resets it there
    STALL = "stall"  # falls silent for stall_ms before the headers or after_bytes of the body, then goes on
    STREAM_ERROR = "stream_error"  # an error event after_chunks, in a shape; then the end
    MISSING_DONE = "missing_done"
    MISSING_FINISH = "missing_finish"  # every finish reason is null
    MISSING_USAGE = "missing_usage"
    MISSING_CHOICES = "missing_choices"
    MISSING_LOGPROBS = "missing_logprobs"  # asked for or not
    USAGE = "usage"  # a name for a fault that only reports wrong usage
    CONTENT = "content"  # a name for a fault that only puts words into the model's mouth
    MALFORMED_JSON = "malformed_json"
    HTML = "html"
    EMPTY = "empty"
    WRONG_CONTENT_TYPE = "wrong_content_type"
    REDIRECT = "redirect"  # location; status where it is one of 3xx, 302 otherwise
    OVERSIZED = "oversized"  # size_bytes of padding inside otherwise good JSON
    ENDLESS_LINE = "endless_line"  # size_bytes without a line feed
    HEADER_BOMB = "header_bomb"  # size_bytes of headers
    GZIP_BOMB = "gzip_bomb"  # size_bytes once inflated
    BAD_CHUNKING = "bad_chunking"  # no chunk has a size
    BAD_CHUNK = "bad_chunk"  # the chunk after_chunks has none; then the end
    GLUED_FRAMES = "glued_frames"  # the whole body in one write
    SPLIT_FRAMES = "split_frames"  # split_bytes a write, through frames and UTF-8 sequences
    CRLF_FRAMES = "crlf_frames"
    COMMENTS = "comments"
    DUPLICATE_FINISH = "duplicate_finish"


class ErrorShape(StrEnum):
    """Whose way of writing an error down: each has a document, and an event for the middle of a stream."""

    OPENAI = "openai"  # message, error_type, param, code
    ANTHROPIC = "anthropic"  # message, error_type; the event is named `error`
    VLLM = "vllm"  # message, error_type, param; the code is the status; `[DONE]` follows the event
    FASTAPI = "fastapi"  # message, param
    BEDROCK = "bedrock"  # message, error_type; the event is an exception's message of an event stream
    GEMINI = "gemini"  # message, retry_after; as `google.rpc.Status`
    AZURE = "azure"  # message, code; of the content filter, what it found; the event is OpenAI's
    HTML = "html"  # message, as the proxy in front of a vendor writes it


_UNBILLED = frozenset({FaultKind.STATUS, FaultKind.REDIRECT})


class Fault(Speech, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault and its figures, and what the model says meanwhile.

    `usage` is reported in place of the true figures. `billed` overrides whether the vendor charges
    for the call.
    """

    kind: FaultKind = FaultKind.DELAY
    delay_ms: float = 0
    """Before the first byte."""
    chunk_delay_ms: float = 0
    """Before each chunk."""
    byte_delay_ms: float = 0
    """Between the bytes of the body, framing included."""
    head_byte_delay_ms: float = 0
    """Between the bytes of the status line and headers."""
    headers: dict[str, str] = {}
    status: int = 500
    retry_after: str | None = None
    retry_after_date_s: float | None = None
    """So many seconds from the moment of the reply, written as an HTTP date; may be past."""
    shape: ErrorShape = ErrorShape.OPENAI
    message: str = "The sandbox was told to fail."
    error_type: str | None = None
    param: str | None = None
    code: str | None = None
    after_bytes: int | None = None
    after_head_bytes: int | None = None
    after_chunks: int = 2
    stall_ms: float = 0
    split_bytes: int = 1
    size_bytes: int = 64 * 1024 * 1024
    location: str = "http://127.0.0.1:9/v1/chat/completions"
    usage: dict[str, Any] = {}
    billed: bool | None = None

    @property
    def is_billed(self) -> bool:
        return self.kind not in _UNBILLED if self.billed is None else self.billed

    def format_retry_after(self) -> str | None:
        """Return the value of the Retry-After header, None for none."""
        if self.retry_after_date_s is None:
            return self.retry_after
        return formatdate(time.time() + self.retry_after_date_s, usegmt=True)
