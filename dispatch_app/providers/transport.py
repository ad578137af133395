"""The one place of the project that opens connections to vendors.

Requests and responses are httpx's; the connections are aiohttp's, through the transport of `httpx-aiohttp` called without
a client in between. No redirects, no proxies or credentials of the environment, no cookies, no retries, no decompression.

`httpx-aiohttp` 0.2 maps a connection that broke off to the same exception as one that never came about
(`ConnectTimeout`). Whether a request was sent decides what it costs, so the exception of aiohttp beneath decides here.
"""

import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict

from dispatch_app.execution.errors import InvalidReplyError, TruncatedError, UnreachableError, UpstreamError
from dispatch_app.providers.dial import open_public_socket, open_socket

MOST_CONNECTIONS = 4_096
KEEP_ALIVE_S = 30.0
DNS_TTL_S = 10
MOST_HEADER_BYTES = 16 * 1024
MOST_HEADERS = 128

NETWORK_ERRORS = (httpx.HTTPError, aiohttp.ClientError)
_NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    httpx.UnsupportedProtocol,
)


class Outgoing(httpx.Request):
    """A request to a vendor. Its address and headers are prepared once and shared by all requests of a provider.

    httpx would parse, copy and complete them anew each time, for 50 µs a call; aiohttp takes them as they are.
    """

    def __init__(self, *, url: str, headers: CIMultiDict[str], body: bytes, connect_timeout_s: float) -> None:
        self.method = "POST"
        self.url = url  # type: ignore[assignment]
        self.headers = headers  # type: ignore[assignment]
        self.extensions = {"timeout": {"connect": connect_timeout_s}}
        self._body = body

    @property
    def content(self) -> bytes:
        return self._body


class Transport:
    """A pool of connections for as long as the `async with` block runs."""

    def __init__(self) -> None:
        self._tls = httpx.create_ssl_context(trust_env=False)

    async def __aenter__(self) -> Self:
        self._public = _pool(self._tls, open_public_socket)
        self._private = _pool(self._tls, open_socket)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._public.aclose()
        await self._private.aclose()

    async def open(self, request: Outgoing, *, allow_private_network: bool) -> httpx.Response:
        """Send a request; return as soon as the reply's headers are there. The caller closes the response.

        :raises httpx.HTTPError: or `aiohttp.ClientError`, for `network_fault` to read.
        """
        pool = self._private if allow_private_network else self._public
        return await pool.handle_async_request(request)


def network_fault(error: Exception, *, wire_status: int | None) -> UpstreamError:
    """Say what a failure of the network means. Only one before the connection stood is known to have sent nothing."""
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__ or error
    if isinstance(cause, _NEVER_CONNECTED):
        return UnreachableError()
    if isinstance(cause, aiohttp.ClientResponseError):
        return InvalidReplyError(wire_status=wire_status)
    return TruncatedError(wire_status=wire_status)


def _pool(tls: ssl.SSLContext, socket_factory: Callable[..., Any]) -> AiohttpTransport:
    connector = aiohttp.TCPConnector(
        ssl=tls,
        limit=MOST_CONNECTIONS,
        keepalive_timeout=KEEP_ALIVE_S,
        ttl_dns_cache=DNS_TTL_S,
        socket_factory=socket_factory,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        max_line_size=MOST_HEADER_BYTES,
        max_field_size=MOST_HEADER_BYTES,
        max_headers=MOST_HEADERS,
    )
    return AiohttpTransport(verify=tls, trust_env=False, client=session)
