"""What Gemini answers with, on the wire. A stream consists of such replies, each with the next few words."""

from typing import Any

import msgspec

from dispatch_app.execution.errors import InvalidReplyError
from policies_app.routing.types import Usage

MOST_MODEL_NAME = 200
_FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
_BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
"""The model wrote what its own server could not read: there is no answer."""


class FunctionCall(msgspec.Struct):
    name: str
    args: Any = None
    id: str | None = None


class Part(msgspec.Struct, rename="camel"):
    """A part of what a model says, of any kind."""

    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: list[Part] = []


class Candidate(msgspec.Struct, rename="camel"):
    """One of the answers."""

    content: _Content | None = None
    finish_reason: str | None = None
    index: int = 0

    @property
    def parts(self) -> list[Part]:
        return [] if self.content is None else self.content.parts


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _ReportedUsage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class Response(msgspec.Struct, rename="camel"):
    """A reply, or the next piece of a streamed one."""

    candidates: list[Candidate] = []
    prompt_feedback: _Feedback | None = None
    usage_metadata: Any = None
    model_version: str = ""
    response_id: str = ""
    error: Any = None

    @property
    def is_blocked(self) -> bool:
        """Whether the prompt was refused, so that there is no answer at all."""
        feedback = self.prompt_feedback
        return not self.candidates and feedback is not None and feedback.block_reason is not None

    @property
    def model_name(self) -> str:
        """The model's name as the log can hold it."""
        return self.model_version.replace("\0", "")[:MOST_MODEL_NAME]

    def usage(self) -> Usage | None:
        """Disjoint buckets, plausible or not; None if nothing can be read.

        Cached tokens are inside the prompt's count; thoughts stand beside what is answered. A count of zero is left out.
        """
        try:
            told = msgspec.convert(self.usage_metadata, _ReportedUsage)
        except msgspec.ValidationError:
            return None
        if told.prompt_token_count is None:
            return None
        cached = told.cached_content_token_count or 0
        return Usage(
            input_tokens=told.prompt_token_count - cached + (told.tool_use_prompt_token_count or 0),
            cached_input_tokens=cached,
            output_tokens=told.candidates_token_count or 0,
            reasoning_tokens=told.thoughts_token_count or 0,
        )


_decode = msgspec.json.Decoder(Response).decode


def read_response(body: bytes, *, wire_status: int) -> Response:
    """Decode a reply or a piece of one.

    :raises InvalidReplyError: if it is none.
    """
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReplyError(wire_status=wire_status) from error


def finish_reason(reason: str, *, has_calls: bool, usage: Usage | None) -> str:
    """OpenAI's word for how an answer ended.

    :raises InvalidReplyError: if it ended in what is no answer.
    """
    if reason in _BROKEN:
        raise InvalidReplyError(wire_status=200, usage=usage)
    told = _FINISH_REASONS.get(reason, "content_filter")
    return "tool_calls" if has_calls and told == "stop" else told
