"""Vectors of texts. The more words two texts have in common, the closer are their vectors."""

import math
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import shake_256

from sandbox.completion import Usage
from sandbox.errors import ApiError
from sandbox.fleet import EMBEDDING, VendorModel
from sandbox.tokens import count_tokens, split_tokens

Text = str | tuple[int, ...]
"""A text, or the ids of its tokens."""
_MIDDLE = 127.5


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """What is to be embedded, and with how many numbers each."""

    texts: Sequence[Text]
    dimensions: int

    @property
    def transcript(self) -> str:
        return "\n".join(text for text in self.texts if isinstance(text, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """One finished call. Every number is a 32-bit float."""

    id: str
    model: VendorModel
    vectors: Sequence[Sequence[float]]
    usage: Usage


def embed(request: EmbeddingRequest) -> Embedding:
    """Serve a request.

    :raises ApiError: if a text is longer than the model's context.
    """
    counts = [_count(text) for text in request.texts]
    if max(counts) > EMBEDDING.context_limit_tokens:
        raise ApiError(
            status=400,
            message=f"This model's maximum context length is {EMBEDDING.context_limit_tokens} tokens, however you "
            f"requested {max(counts)} tokens.",
            code="context_length_exceeded",
        )
    return Embedding(
        id=uuid.uuid4().hex,
        model=EMBEDDING,
        vectors=[vector_of(text, request.dimensions) for text in request.texts],
        usage=Usage(prompt_tokens=sum(counts), cached_tokens=0, completion_tokens=0, reasoning_tokens=0),
    )


def vector_of(text: Text, dimensions: int) -> list[float]:
    """The vector of a text, of length one."""
    words = split_tokens(text.lower()) if isinstance(text, str) else map(str, text)
    digests = [shake_256(word.strip().encode()).digest(dimensions) for word in words]
    numbers = [sum(column) - _MIDDLE * len(digests) for column in zip(*digests, strict=True)]
    length = math.hypot(*numbers)
    return list(struct.unpack(f"<{dimensions}f", pack([number / length for number in numbers])))


def pack(numbers: Sequence[float]) -> bytes:
    """Numbers as 32-bit floats, the least significant byte of each first."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def _count(text: Text) -> int:
    return count_tokens(text) if isinstance(text, str) else len(text)
