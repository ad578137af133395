"""What every wire format of a vendor must offer, and where each is found."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from dispatch_app.execution.canonical import Reply, Request, StreamPart
from dispatch_app.execution.errors import UpstreamError
from dispatch_app.providers.sse import Event
from policies_app.routing.codes import WireFormat
from policies_app.routing.types import Candidate


class Provider(Protocol):
    """What calling a vendor takes. The snapshot's providers are such."""

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
    def bills_server_errors(self) -> bool: ...
    @property
    def secret(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the requests of one provider go, and the headers that they carry, built from zero."""

    url: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """The event with which a vendor says that a stream is complete."""


class Adapter(Protocol):
    """One wire format as pure functions: request to bytes, bytes to reply, events, usage and errors."""

    def target(self, provider: Provider) -> Target:
        """Where to send, with which headers."""

    def build_body(self, *, request: Request, candidate: Candidate, target: Target) -> bytes:
        """The request's body for one candidate."""

    def parse_reply(self, body: bytes, *, wire_status: int, first_byte_at: float) -> Reply:
        """Read a whole reply.

        :raises UpstreamError: if it is not what the wire format promises.
        """

    def parse_event(self, event: Event) -> StreamPart | StreamEnd:
        """Read one event of a stream.

        :raises UpstreamError: if it says that the vendor failed, or is not what the wire format promises.
        """

    def read_error(
        self, body: bytes, *, wire_status: int, retry_after_s: int | None, bills_server_errors: bool
    ) -> UpstreamError:
        """Say what a status other than 200 means."""


ADAPTERS: dict[WireFormat, str] = {
    WireFormat.OPENAI_CHAT: "dispatch_app.providers.openai_chat",
}
"""Module of each wire format; its functions are the adapter. Imported on first use."""


@cache
def adapter_of(wire_format: WireFormat) -> Adapter:
    """Return the adapter of a wire format."""
    return cast("Adapter", import_module(ADAPTERS[wire_format]))
