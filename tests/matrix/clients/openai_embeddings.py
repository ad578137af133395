"""OpenAI's own client, as it asks for embeddings."""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

import openai

from sandbox.embeddings import pack, vector_of
from tests.matrix.clients.openai_chat import open_client
from tests.matrix.questions import TEXTS

DIMENSIONS = 256
"""As few as every vendor's model can be asked for."""

Feature = Callable[[openai.OpenAI, str], None]

__all__ = ["FEATURES", "open_client", "plain"]


def plain(client: openai.OpenAI, model: str) -> Any:
    """Ask for the vector of one text."""
    return client.embeddings.create(model=model, input=TEXTS[0])


def _text(client: openai.OpenAI, model: str) -> None:
    """The client asks for bytes of its own accord, and makes numbers of them."""
    told = plain(client, model)
    _check_vectors(told, TEXTS[:1])
    assert told.usage.prompt_tokens == told.usage.total_tokens > 0


def _batch(client: openai.OpenAI, model: str) -> None:
    _check_vectors(client.embeddings.create(model=model, input=TEXTS), TEXTS)


def _numbers(client: openai.OpenAI, model: str) -> None:
    told = client.embeddings.create(model=model, input=TEXTS, encoding_format="float")
    _check_vectors(told, TEXTS)


def _bytes(client: openai.OpenAI, model: str) -> None:
    told: Any = client.embeddings.create(model=model, input=TEXTS[0], encoding_format="base64")
    (packed,) = (b64decode(item.embedding) for item in told.data)
    assert packed == pack(vector_of(TEXTS[0], len(packed) // 4))


def _dimensions(client: openai.OpenAI, model: str) -> None:
    told = client.embeddings.create(model=model, input=TEXTS, dimensions=DIMENSIONS)
    _check_vectors(told, TEXTS)
    assert len(told.data[0].embedding) == DIMENSIONS


def _token_ids(client: openai.OpenAI, model: str) -> None:
    ids = [[1, 2, 3], [4]]
    told = client.embeddings.create(model=model, input=ids)
    assert [item.embedding for item in told.data] == [
        vector_of(tuple(text), len(item.embedding)) for text, item in zip(ids, told.data, strict=True)
    ]
    assert told.usage.prompt_tokens == 4


def _check_vectors(told: Any, texts: list[str]) -> None:
    """Every number is the vendor's, to the last bit, and they come in the order of the texts."""
    assert [item.index for item in told.data] == list(range(len(texts)))
    vectors = [item.embedding for item in told.data]
    assert vectors == [vector_of(text, len(vectors[0])) for text in texts]


FEATURES: Mapping[str, Feature] = {
    "one text": _text,
    "a batch": _batch,
    "as numbers": _numbers,
    "as base64": _bytes,
    "dimensions": _dimensions,
    "token ids": _token_ids,
}
