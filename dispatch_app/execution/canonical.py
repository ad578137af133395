"""The canonical prompt format and its replies: OpenAI's chat completions and embeddings, checked at the edge and carried as values.

Wire formats of clients are turned into these, adapters turn these into the wire formats of vendors.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from dispatch_app.execution.vectors import Vector
from policies_app.routing.types import Usage

_THINKING_FIELDS = frozenset(
    {"reasoning_effort", "reasoning", "thinking", "enable_thinking", "chat_template_kwargs"}
)


class ClientFormat(StrEnum):
    """What a caller speaks."""

    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"
    ANTHROPIC_MESSAGES = "anthropic_messages"


class Operation(StrEnum):
    """What is asked of a model: the next turn of a conversation, or vectors of texts."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `fields` holds what a vendor may see, under OpenAI's names.

    What Signalbox decides itself is not among them: model, streaming, output limit. `limit_field` is the name that the
    caller gave its output limit, None when it set none. `extras` holds what only the caller's own format, `origin`, has
    words for: vendors that speak it are sent these, all others are not.

    For embeddings `fields` has the texts as `input`, always a list: of texts, or of lists of token ids.
    """

    fields: Mapping[str, Any]
    stream: bool
    choices: int
    limit_field: str | None = None
    origin: ClientFormat = ClientFormat.OPENAI_CHAT
    extras: Mapping[str, Any] = msgspec.field(default_factory=dict)
    operation: Operation = Operation.CHAT

    @property
    def may_think(self) -> bool:
        """Whether it asks for tokens that the vendor generates, and bills, and that are never seen."""
        return not _THINKING_FIELDS.isdisjoint(self.fields)


class Choice(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One finished reply, in OpenAI's shape. `matched_stop` is the stop sequence that ended it, where the vendor says."""

    index: int = msgspec.field(default_factory=int)
    message: dict[str, Any]
    logprobs: Any = None
    finish_reason: str | None
    matched_stop: str | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, kw_only=True):
    """One step of one reply of a stream, in OpenAI's shape; `matched_stop` as in `Choice`."""

    index: int = 0
    delta: dict[str, Any] = {}
    logprobs: Any = None
    finish_reason: str | None = None
    matched_stop: str | UnsetType = UNSET


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole reply. `usage` is as reported, plausible or not; None when the vendor reported none.

    `vectors` has one for each text that was to be embedded, in order; there are no choices then.
    """

    model: str
    choices: list[Choice]
    usage: Usage | None
    wire_status: int
    first_byte_at: float
    vectors: Sequence[Vector] = ()


class StreamPart(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a streamed reply; usage comes with its last ones.

    `unseen_tokens` were generated before it, by what the vendor says, and are in no part.
    """

    model: str
    choices: list[ChunkChoice]
    usage: Usage | None
    unseen_tokens: int = 0

    @property
    def finished_choices(self) -> int:
        """How many of the replies end with this part."""
        return sum(choice.finish_reason is not None for choice in self.choices)

    @property
    def generated_bytes(self) -> int:
        """Bytes of what was generated for this part, never fewer than the tokens it was made of."""
        return self.unseen_tokens + sum(_delta_bytes(choice.delta) for choice in self.choices)


def _delta_bytes(delta: Mapping[str, Any]) -> int:
    """A thought is told twice, as a text and as a block: it counts once."""
    told = sum(_text_bytes(value) for value in delta.values())
    if "thinking_blocks" not in delta or "reasoning_content" not in delta:
        return told
    return told - min(_text_bytes(delta["thinking_blocks"]), _text_bytes(delta["reasoning_content"]))


def _text_bytes(value: Any) -> int:
    match value:
        case str():
            return len(value.encode("utf-8", "surrogatepass"))
        case dict():
            return sum(_text_bytes(nested) for nested in value.values())
        case list():
            return sum(_text_bytes(nested) for nested in value)
        case _:
            return 0
