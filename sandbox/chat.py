"""A chat request as OpenAI's API defines it and as far as the vendor reads it."""

from hashlib import blake2b
from typing import Any, Literal

import msgspec

from sandbox.errors import ApiError
from sandbox.tokens import IMAGE_TOKENS, MESSAGE_OVERHEAD_TOKENS, REPLY_OVERHEAD_TOKENS, count_tokens

MAX_CHOICES = 16
MAX_TOP_LOGPROBS = 20


class ContentPart(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    text: str = ""


class FunctionCall(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    arguments: str = ""


class MessageToolCall(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    function: FunctionCall


class Message(msgspec.Struct, frozen=True, kw_only=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[ContentPart, ...] | None = None
    tool_calls: tuple[MessageToolCall, ...] | None = None

    @property
    def text(self) -> str:
        if self.content is None:
            return ""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def count_tokens(self) -> int:
        parts = self.content if isinstance(self.content, tuple) else ()
        calls = self.tool_calls or ()
        return (
            MESSAGE_OVERHEAD_TOKENS
            + count_tokens(self.text)
            + IMAGE_TOKENS * sum(part.type == "image_url" for part in parts)
            + sum(count_tokens(call.function.name + call.function.arguments) for call in calls)
        )


class Function(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["function"] = "function"
    function: Function


class NamedFunction(msgspec.Struct, frozen=True, kw_only=True):
    name: str


class NamedTool(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["function"] = "function"
    function: NamedFunction


class JsonSchema(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    schema: dict[str, Any] = {}


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    include_usage: bool = False


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the vendor reads of a request; fields that it does not know are ignored, as OpenAI does."""

    model: str
    messages: tuple[Message, ...]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    stop: str | tuple[str, ...] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    shows_thoughts: bool = True
    """Whether what was thought is told where the format can; other formats than Gemini's do not ask."""
    seed: int | None = None
    metadata: dict[str, str] | None = None

    @property
    def choices(self) -> int:
        return 1 if self.n is None else self.n

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else self.stop or ()

    @property
    def output_limit_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def question(self) -> str:
        """Return the last thing that the user said."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def transcript(self) -> str:
        return "\n".join(f"{message.role}: {message.text}" for message in self.messages)

    def fingerprint(self) -> str:
        """Name this prompt: equal for equal conversations, whatever model is asked."""
        return blake2b(f"{self.seed}\n{self.transcript}".encode(), digest_size=12).hexdigest()

    def count_prompt_tokens(self) -> int:
        tools = sum(count_tokens(msgspec.json.encode(tool.function).decode()) for tool in self.tools or ())
        return REPLY_OVERHEAD_TOKENS + tools + sum(message.count_tokens() for message in self.messages)


_DECODER = msgspec.json.Decoder(ChatRequest)


def parse_chat(body: bytes) -> ChatRequest:
    """Read a request's body.

    :raises ApiError: if it is not JSON or not a chat request.
    """
    try:
        chat = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise ApiError(status=400, message=f"Invalid request: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(status=400, message="We could not parse the JSON body of your request.") from error
    _check_ranges(chat)
    return chat


def _check_ranges(chat: ChatRequest) -> None:
    limit = chat.output_limit_tokens
    checks = {
        "messages": len(chat.messages) >= 1,
        "n": 1 <= chat.choices <= MAX_CHOICES,
        "max_tokens": limit is None or limit >= 1,
        "top_logprobs": 0 <= (chat.top_logprobs or 0) <= MAX_TOP_LOGPROBS,
    }
    for param, holds in checks.items():
        if not holds:
            raise ApiError(
                status=400, message=f"Invalid value for '{param}'.", param=param, code="invalid_value"
            )
