"""What the gateway needs of a wire format that clients speak: a request in; a reply, a stream and errors out. Pure halves."""

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from dispatch_app.execution.canonical import ClientFormat, Reply, StreamPart
from dispatch_app.execution.errors import DispatchError
from dispatch_app.gateway.prompt import Prompt
from policies_app.routing.types import Usage


class StreamRenderer(Protocol):
    """Renders the events of one stream."""

    def part(self, part: StreamPart, *, model: str) -> bytes:
        """One step of the reply."""

    def end(self, *, model: str, usage: Usage | None, details: Any, is_verbose: bool) -> bytes:
        """What completes the stream, with `details` as its `dispatch` object where there is room for one."""

    def error(self, error: DispatchError) -> bytes:
        """The event that ends a stream which broke off; nothing follows it."""


class _Parse(Protocol):
    def __call__(self, body: bytes) -> Prompt: ...


class _RenderReply(Protocol):
    def __call__(
        self,
        *,
        reply: Reply,
        dispatch_id: str,
        created: int,
        model: str,
        usage: Usage | None,
        details: Any,
        prompt: Prompt,
    ) -> bytes: ...


class _RenderStream(Protocol):
    def __call__(self, *, dispatch_id: UUID, created: int, prompt: Prompt) -> StreamRenderer: ...


class _RenderError(Protocol):
    def __call__(self, error: DispatchError, *, dispatch_id: UUID) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHalf:
    """One format of clients.

    `parse` reads a request's body, and raises a `RequestError` if it is none. `render_reply` gives the body of a plain
    answer: `details` becomes its `dispatch` object, None leaves that out. `heartbeat` is what a stream says that has
    nothing to say yet. `request_id_header` is where clients look for the id that support asks them for.
    """

    name: ClientFormat
    parse: _Parse
    render_reply: _RenderReply
    render_stream: _RenderStream
    render_error: _RenderError
    heartbeat: bytes
    request_id_header: bytes
