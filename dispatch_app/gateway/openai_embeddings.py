"""OpenAI's embeddings as clients speak them: request in, reply out."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from dispatch_app.execution.canonical import Operation, Reply, Request
from dispatch_app.execution.errors import ErrorCode
from dispatch_app.execution.vectors import bytes_of, numbers_of
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.fields import REFUSED_FIELDS, EndUser, Metadata, check_fields
from dispatch_app.gateway.json_guard import parse_object
from dispatch_app.gateway.measuring import BYTES_OF_A_TOKEN
from dispatch_app.gateway.prompt import Prompt
from policies_app.routing.codes import Capability, WireFeature
from policies_app.routing.wire_formats import MOST_INPUTS

FRAMING_TOKENS_OF_A_TEXT = 16
"""What a vendor can put around a text, in tokens. Nothing is put around token ids."""
MOST_TOKEN_IDS = 300_000
"""As many as OpenAI takes at once."""
VECTORS_A_TURN = 16
"""Written before others have their turn: some 6 ms, of 1,536 numbers each."""
_CONSUMED = frozenset(
    {"model", "stream", "encoding_format", "user", "metadata", "store", "service_tier", "messages"}
)
_NOT_HERE = frozenset({"messages", "stream"})

_Text = Annotated[str, Meta(min_length=1)]
_Ids = Annotated[list[Annotated[int, Meta(ge=0, lt=2**31)]], Meta(min_length=1)]


class _EmbeddingFields(msgspec.Struct):
    """The fields that are checked; what is not among them goes to the vendor as it came."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    input: _Text | list[Any]
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: EndUser | None = None
    metadata: Metadata | None = None


_KNOWN = frozenset(_EmbeddingFields.__struct_fields__)


class _Texts(msgspec.Struct):
    input: Annotated[list[_Text], Meta(min_length=1, max_length=MOST_INPUTS)]


class _TokenIds(msgspec.Struct):
    input: Annotated[list[_Ids], Meta(min_length=1, max_length=MOST_INPUTS)]


class _Embedding(msgspec.Struct):
    index: int
    embedding: msgspec.Raw
    object: str = "embedding"


class _Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    model: str
    usage: _Usage
    object: str = "list"
    dispatch: Any = UNSET


_encode = msgspec.json.Encoder().encode


def parse_embeddings(body: bytes) -> Prompt:
    """Read a request's body.

    :raises RequestError: if it is not JSON, not a request for embeddings, or asks for what is not offered.
    """
    # Each list of ids is a value, too, and so are the few other fields.
    return read_embeddings(parse_object(body, most_values=MOST_TOKEN_IDS + 2 * MOST_INPUTS))


def read_embeddings(document: dict[str, Any]) -> Prompt:
    """Read a request for embeddings from its fields.

    :raises RequestError: if it is not one, or asks for what is not offered.
    """
    asked = check_fields(document, _EmbeddingFields)
    for name, value in document.items():
        if REFUSED_FIELDS.fullmatch(name) or (name in _NOT_HERE and value):
            raise RequestError(code=ErrorCode.UNSUPPORTED_PARAMETER, param=name)
    inputs = _inputs(asked.input)
    are_texts = isinstance(inputs[0], str)
    sizes = [len(text.encode()) if isinstance(text, str) else len(text) for text in inputs]
    estimates = [-(-size // BYTES_OF_A_TOKEN) for size in sizes] if are_texts else sizes
    fields = {name: value for name, value in document.items() if name not in _CONSUMED}
    return Prompt(
        model=asked.model,
        request=Request(
            fields=fields | {"input": inputs}, stream=False, choices=1, operation=Operation.EMBEDDINGS
        ),
        input_tokens=sum(estimates),
        input_tokens_bound=sum(sizes) + len(inputs) * _most_around(fields, are_texts=are_texts),
        images=0,
        output_tokens=None,
        needs=frozenset({Capability.EMBEDDINGS}),
        end_user=asked.user or "",
        metadata=asked.metadata or {},
        includes_usage=True,
        features=_features(asked, are_texts=are_texts),
        echo={"encoding_format": asked.encoding_format or "float"},
        inputs=len(inputs),
        longest_input_tokens=max(estimates),
    )


async def render_embeddings(
    *, reply: Reply, model: str, input_tokens: int, details: Any, prompt: Prompt
) -> bytes:
    """The body of an answer. `details` becomes its `dispatch` object, None leaves that out."""
    return _encode(
        _Embeddings(
            data=await rendered_vectors(reply, prompt),
            model=model,
            usage=_Usage(prompt_tokens=input_tokens, total_tokens=input_tokens),
            dispatch=UNSET if details is None else details,
        )
    )


async def rendered_vectors(reply: Reply, prompt: Prompt) -> list[_Embedding]:
    """The vectors of a reply in the format that was asked for; bytes are written in base 64.

    To write thousands takes most of a second, so that other requests have their turn in between.
    """
    in_format = bytes_of if prompt.echo["encoding_format"] == "base64" else numbers_of
    told: list[_Embedding] = []
    for index, vector in enumerate(reply.vectors):
        if index % VECTORS_A_TURN == VECTORS_A_TURN - 1:
            await asyncio.sleep(0)
        told.append(_Embedding(index=index, embedding=msgspec.Raw(_encode(in_format(vector)))))
    return told


def _inputs(told: str | list[Any]) -> list[str] | list[list[int]]:
    """What is to be embedded, as a list in any case: one list of ids is one text."""
    if isinstance(told, str):
        return [told]
    match told:
        case [int(), *_]:
            return check_fields({"input": [told]}, _TokenIds).input
        case [list(), *_]:
            return check_fields({"input": told}, _TokenIds).input
        case _:
            return check_fields({"input": told}, _Texts).input


def _most_around(fields: dict[str, Any], *, are_texts: bool) -> int:
    """The most tokens that a vendor can put around each text: its own, and whatever it makes of fields that are not known here."""
    framing = FRAMING_TOKENS_OF_A_TEXT if are_texts else 0
    others = {name: fields[name] for name in fields.keys() - _KNOWN}
    return framing + len(_encode(others)) if others else framing


def _features(asked: _EmbeddingFields, *, are_texts: bool) -> frozenset[WireFeature]:
    wanted = {
        WireFeature.EMBEDDINGS: True,
        WireFeature.EMBEDDING_DIMENSIONS: asked.dimensions is not None,
        WireFeature.TOKENIZED_INPUT: not are_texts,
    }
    return frozenset(feature for feature, is_wanted in wanted.items() if is_wanted)
