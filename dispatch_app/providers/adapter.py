"""What every wire format of a vendor must offer, and where each is found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import import_module
from typing import Protocol, cast

import msgspec
from multidict import CIMultiDict

from dispatch_app.execution.canonical import Operation, Reply, Request, StreamPart
from dispatch_app.execution.errors import UpstreamError
from policies_app.routing.codes import WireFormat
from policies_app.routing.types import Candidate, CatalogueModel


class Provider(Protocol):
    """What calling a vendor takes, with one of its credentials. The snapshot's providers are such."""

    @property
    def id(self) -> int: ...
    @property
    def wire_format(self) -> WireFormat: ...
    @property
    def base_url(self) -> str: ...
    @property
    def allow_private_network(self) -> bool: ...
    @property
    def connect_timeout_ms(self) -> int: ...
    @property
    def first_byte_timeout_ms(self) -> int: ...
    @property
    def idle_timeout_ms(self) -> int: ...
    @property
    def region(self) -> str: ...
    @property
    def api_version(self) -> str: ...
    @property
    def bills_server_errors(self) -> bool: ...
    @property
    def secret(self) -> str | None: ...
    @property
    def lacks_secret(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What all requests to one provider have in common. Headers are built from zero, and shared by those that change none."""

    provider: Provider
    url: str
    headers: CIMultiDict[str]


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """One request, ready to send."""

    url: str
    headers: CIMultiDict[str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """The event with which a vendor says that a stream is complete."""


class StreamDecoder(Protocol):
    """Reads one stream. How its bytes are split makes no difference.

    Both methods raise an `UpstreamError` if the stream says that the vendor failed, or is not what the wire format
    promises; and `EventTooLongError`.
    """

    def feed(self, data: bytes) -> Iterator[StreamPart | StreamEnd]:
        """Take the next bytes, and yield what they complete."""

    def close(self) -> Iterator[StreamPart | StreamEnd]:
        """Take the end of the bytes, and yield what it completes."""


class Adapter(Protocol):
    """One wire format as pure functions: request to bytes, bytes to reply, events, usage and errors."""

    @property
    def REPLY_MEDIA_TYPE(self) -> str: ...  # noqa: N802  # a constant of the module
    @property
    def STREAM_MEDIA_TYPE(self) -> str: ...  # noqa: N802

    def prepare(self, provider: Provider) -> Prepared:
        """What all requests to `provider` have in common."""

    def build(self, *, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
        """The request for one candidate; `now` is for those that are signed.

        It comes as the candidate's model takes it. What its row fixes in the vendor's own words is added by
        `dispatch_app.providers.quirks.encoded`, which makes the body.
        """

    def dropped(self, request: Request, *, model: CatalogueModel) -> tuple[str, ...]:
        """Names of what the caller asked for and this format does not carry, or not as it was asked for.

        It comes as `model` takes it, as in `build`.
        """

    def parse_reply(self, body: bytes, *, wire_status: int, first_byte_at: float) -> Reply:
        """Read a whole reply.

        :raises UpstreamError: if it is not what the wire format promises.
        """

    def stream_decoder(self) -> StreamDecoder:
        """A decoder for one streamed reply."""

    def read_error(
        self, body: bytes, *, wire_status: int, retry_after_s: int | None, bills_server_errors: bool
    ) -> UpstreamError:
        """Say what a status other than 200 means."""


class Embedder(Protocol):
    """The same of a wire format's embeddings; errors, and what all requests have in common, are the adapter's."""

    def build(self, *, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
        """See `Adapter.build`."""

    def dropped(self, request: Request, *, model: CatalogueModel) -> tuple[str, ...]:
        """See `Adapter.dropped`."""

    async def parse_reply(
        self,
        body: bytes,
        *,
        request: Request,
        header: Callable[[bytes], str | None],
        wire_status: int,
        first_byte_at: float,
    ) -> Reply:
        """Read the reply to `request`. `header` gives one of its headers by its name in lower case.

        What is long is read in turns with what else the event loop has to do.

        :raises UpstreamError: if it is not what the wire format promises.
        """


EMBEDDERS: dict[WireFormat, str] = {
    WireFormat.OPENAI_CHAT: "dispatch_app.providers.openai_embeddings",
    WireFormat.AZURE_OPENAI: "dispatch_app.providers.azure_embeddings",
    WireFormat.GEMINI: "dispatch_app.providers.gemini.embeddings",
    WireFormat.BEDROCK_CONVERSE: "dispatch_app.providers.bedrock_converse.embeddings",
}
"""Module of each wire format that has embeddings."""


@cache
def adapter_of(wire_format: WireFormat) -> Adapter:
    """Return the adapter of a wire format: the module here that is called like it. It is imported on first use."""
    return cast("Adapter", import_module(f"dispatch_app.providers.{wire_format.value}"))


@cache
def embedder_of(wire_format: WireFormat) -> Embedder:
    """Return what a wire format that has embeddings says of them."""
    return cast("Embedder", import_module(EMBEDDERS[wire_format]))


def load_format(wire_format: WireFormat) -> None:
    """Import all that a wire format is made of."""
    adapter_of(wire_format)
    if wire_format in EMBEDDERS:
        embedder_of(wire_format)


def not_carried(request: Request, carried: frozenset[str]) -> list[str]:
    """Names of the fields that ask for something and are not among those that a wire format carries."""
    if carried.issuperset(request.fields):
        return []
    return [name for name, value in request.fields.items() if name not in carried and value]


def dropped_for(model: CatalogueModel, request: Request) -> tuple[str, ...]:
    """Names of what the caller asked for and `model` is not told, or not as it was asked for."""
    if request.operation is Operation.EMBEDDINGS:
        return embedder_of(model.wire_format).dropped(request, model=model)
    return adapter_of(model.wire_format).dropped(request, model=model)
