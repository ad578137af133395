"""Calls vendors: an adapter's pure halves around the transport, under one timer an attempt."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx

from dispatch_app.execution.canonical import Operation, Reply, Request, StreamPart
from dispatch_app.execution.errors import (
    CredentialGoneError,
    CredentialRefusedError,
    DeadlineExceededError,
    FirstByteTimeoutError,
    IdleTimeoutError,
    InvalidReplyError,
    TruncatedError,
    UnreachableError,
    UpstreamError,
)
from dispatch_app.execution.ports import UpstreamCall
from dispatch_app.providers.adapter import Adapter, Prepared, Provider, StreamEnd, adapter_of, embedder_of
from dispatch_app.providers.quirks import adapted
from dispatch_app.providers.sse import EventTooLongError
from dispatch_app.providers.transport import NETWORK_ERRORS, Outgoing, Transport, network_fault

MOST_REPLY_BYTES = 32 * 1024 * 1024
MOST_VECTORS_BYTES = 64 * 1024 * 1024
"""Room for the most and the longest vectors that OpenAI gives at once, 2048 of 3072 numbers."""
MOST_ERROR_BYTES = 64 * 1024
MOST_RETRY_AFTER_S = 300
LINGER_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """A provider, made ready to call with one of its credentials."""

    provider: Provider
    adapter: Adapter
    prepared: Prepared
    connect_timeout_s: float
    first_byte_s: float
    idle_s: float


class ProviderUpstream:
    """Implements `dispatch_app.execution.ports.Upstream` over HTTP.

    `find_provider` takes the ids of a provider and of the credential that it is to be called with.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        find_provider: Callable[[int, int], Provider | None],
        now: Callable[[], datetime],
    ) -> None:
        self._transport = transport
        self._find_provider = find_provider
        self._now = now
        self._routes: dict[tuple[int, int], _Route] = {}

    async def complete(self, call: UpstreamCall) -> Reply:
        """See `Upstream.complete`."""
        route = self._route(call)
        async with (
            _Timer(route=route, call=call) as timer,
            self._response(route, call) as response,
        ):
            timer.reply_begins()
            _check_media_type(response, route.adapter.REPLY_MEDIA_TYPE)
            if _is_for_embeddings(call.request):
                return await _read_vectors(route, call.request, response=response, timer=timer)
            body = await _read(response, limit=MOST_REPLY_BYTES, timer=timer)
            return route.adapter.parse_reply(
                body, wire_status=response.status_code, first_byte_at=timer.first_byte_at
            )

    @asynccontextmanager
    async def stream(self, call: UpstreamCall) -> AsyncIterator[AsyncIterator[StreamPart]]:
        """See `Upstream.stream`."""
        route = self._route(call)
        async with (
            _Timer(route=route, call=call) as timer,
            self._response(route, call) as response,
        ):
            timer.reply_begins()
            _check_media_type(response, route.adapter.STREAM_MEDIA_TYPE)
            yield _parts(response, adapter=route.adapter, timer=timer)

    @asynccontextmanager
    async def _response(self, route: _Route, call: UpstreamCall) -> AsyncIterator[httpx.Response]:
        """Send the request; hand over a reply of status 200 that is closed in the end, whatever happens."""
        asking = (
            embedder_of(route.provider.wire_format) if _is_for_embeddings(call.request) else route.adapter
        )
        built = asking.build(
            request=adapted(call.request, call.candidate),
            candidate=call.candidate,
            prepared=route.prepared,
            now=self._now(),
        )
        request = Outgoing(
            url=built.url,
            headers=built.headers,
            body=built.body,
            connect_timeout_s=route.connect_timeout_s,
        )
        wire_status = None
        try:
            response = await self._transport.open(
                request, allow_private_network=route.provider.allow_private_network
            )
            wire_status = response.status_code
            try:
                if wire_status != 200:
                    raise await self._refused(route, response)
                yield response
            finally:
                await response.stream.aclose()  # type: ignore[union-attr] # the transport's streams are asynchronous
        except NETWORK_ERRORS as error:
            raise network_fault(error, wire_status=wire_status) from error

    async def _refused(self, route: _Route, response: httpx.Response) -> UpstreamError:
        return route.adapter.read_error(
            await _read_beginning(response),
            wire_status=response.status_code,
            retry_after_s=_retry_after_s(_header(response, b"retry-after"), now=self._now()),
            bills_server_errors=route.provider.bills_server_errors,
        )

    def _route(self, call: UpstreamCall) -> _Route:
        ids = (call.candidate.model.provider_id, call.credential.id)
        provider = self._find_provider(*ids)
        route = self._routes.get(ids)
        if route is not None and route.provider is provider:
            return route
        self._forget_what_is_gone()
        if provider is None:
            raise CredentialGoneError
        if provider.lacks_secret:
            raise CredentialRefusedError
        route = self._routes[ids] = _make_ready(provider)
        return route

    def _forget_what_is_gone(self) -> None:
        """Keep only what is served. Every edit makes all providers anew, so that the first call after one comes here."""
        self._routes = {
            ids: route for ids, route in self._routes.items() if self._find_provider(*ids) is route.provider
        }


class _Timer:
    """The one timer of an attempt: until the first byte, then between bytes, and never past the deadline."""

    def __init__(self, *, route: _Route, call: UpstreamCall) -> None:
        self._clock = asyncio.get_running_loop().time
        self._deadline_at = call.deadline_at
        self._idle_s = route.idle_s
        # A cold model is not silent, it is warming up.
        first_byte_s = route.first_byte_s + call.candidate.cold_penalty_ms / 1000
        self._expires_at = min(self._deadline_at, self._clock() + first_byte_s)
        self._timeout = asyncio.timeout_at(self._expires_at)
        self.first_byte_at = 0.0

    async def __aenter__(self) -> "_Timer":
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        try:
            await self._timeout.__aexit__(*raised)  # type: ignore[arg-type] # passed on as they came
        except TimeoutError as error:
            raise self._expired() from error

    def reply_begins(self) -> None:
        self.first_byte_at = self._clock()
        self.extend()

    def extend(self) -> None:
        """Something came: wait for the next."""
        self._expires_at = min(self._deadline_at, self._clock() + self._idle_s)
        self._timeout.reschedule(self._expires_at)

    def pause(self) -> None:
        """Nothing is awaited from the vendor: only the deadline counts."""
        self._expires_at = self._deadline_at
        self._timeout.reschedule(self._expires_at)

    def _expired(self) -> UpstreamError:
        if self._expires_at >= self._deadline_at:
            return DeadlineExceededError()
        return IdleTimeoutError(wire_status=200) if self.first_byte_at else FirstByteTimeoutError()


def _make_ready(provider: Provider) -> _Route:
    adapter = adapter_of(provider.wire_format)
    prepared = adapter.prepare(provider)
    if not prepared.url.startswith("https://") and not provider.allow_private_network:
        raise UnreachableError
    return _Route(
        provider=provider,
        adapter=adapter,
        prepared=prepared,
        connect_timeout_s=provider.connect_timeout_ms / 1000,
        first_byte_s=provider.first_byte_timeout_ms / 1000,
        idle_s=provider.idle_timeout_ms / 1000,
    )


def _is_for_embeddings(request: Request) -> bool:
    return request.operation is Operation.EMBEDDINGS


async def _read_vectors(route: _Route, request: Request, *, response: httpx.Response, timer: _Timer) -> Reply:
    body = await _read(response, limit=MOST_VECTORS_BYTES, timer=timer)
    timer.pause()
    return await embedder_of(route.provider.wire_format).parse_reply(
        body,
        request=request,
        header=lambda name: _header(response, name),
        wire_status=response.status_code,
        first_byte_at=timer.first_byte_at,
    )


def _check_media_type(response: httpx.Response, expected: str) -> None:
    media_type = (_header(response, b"content-type") or "").partition(";")[0].strip().lower()
    if media_type != expected or _header(response, b"content-encoding") not in {None, "identity"}:
        raise InvalidReplyError(wire_status=response.status_code)


def _header(response: httpx.Response, name: bytes) -> str | None:
    """One header, given its name in lower case; httpx's own look-up decodes them all first."""
    for found, value in response.headers.raw:
        if found.lower() == name:
            return value.decode("latin-1")
    return None


async def _read(response: httpx.Response, *, limit: int, timer: _Timer) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.stream:  # type: ignore[union-attr] # the transport's streams are asynchronous
        size += len(chunk)
        if size > limit:
            raise InvalidReplyError(wire_status=response.status_code)
        chunks.append(chunk)
        timer.extend()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _read_beginning(response: httpx.Response) -> bytes:
    """What an error's body begins with, as far as it comes; it is not worth more."""
    chunks: list[bytes] = []
    try:
        async for chunk in response.stream:  # type: ignore[union-attr] # the transport's streams are asynchronous
            chunks.append(chunk)
            if sum(map(len, chunks)) >= MOST_ERROR_BYTES:
                break
    except NETWORK_ERRORS:
        pass  # The status is known, and it says what the attempt came to.
    return b"".join(chunks)


async def _parts(response: httpx.Response, *, adapter: Adapter, timer: _Timer) -> AsyncIterator[StreamPart]:
    """Yield the parts of a stream up to the event that ends it.

    :raises UpstreamError: if the stream ends before that, or holds what it must not.
    """
    decoder = adapter.stream_decoder()
    try:
        async for chunk in response.stream:  # type: ignore[union-attr] # the transport's streams are asynchronous
            timer.pause()
            for part in decoder.feed(chunk):
                if isinstance(part, StreamEnd):
                    await _linger(response)
                    return
                yield part
            timer.extend()
        if any(isinstance(part, StreamEnd) for part in decoder.close()):
            return
    except EventTooLongError as error:
        raise InvalidReplyError(wire_status=200) from error
    raise TruncatedError(wire_status=200)


async def _linger(response: httpx.Response) -> None:
    """Read the end of the HTTP message, which as a rule has come with the last event: the connection is then kept."""
    with suppress(TimeoutError, *NETWORK_ERRORS):
        async with asyncio.timeout(LINGER_S):
            async for _ in response.stream:  # type: ignore[union-attr] # the transport's streams are asynchronous
                pass


def _retry_after_s(header: str | None, *, now: datetime) -> int | None:
    """Seconds of a Retry-After header, given as such or as a date; None when there is none that can be read."""
    if header is None:
        return None
    if header.isascii() and header.isdigit():
        seconds = int(header[:10])
    else:
        try:
            seconds = round((parsedate_to_datetime(header) - now).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0), MOST_RETRY_AFTER_S)
