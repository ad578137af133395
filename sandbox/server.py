"""The sandbox as a server: in the caller's event loop, or in a thread of its own."""

import asyncio
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from types import TracebackType
from typing import Self

from sandbox.connection import Connection
from sandbox.control import PREFIX, ConnectionCounts, Control
from sandbox.fast import FastConnection, FastLedger
from sandbox.faults import Fault
from sandbox.ledger import RequestJournal, VendorLedger
from sandbox.scripts import Script, in_turn, parse_fault
from sandbox.tls import Identity, TlsVariant
from sandbox.vendor import Exchange, Vendor
from sandbox.wire import HttpRequest, Reply


class SandboxServer:
    """A vendor on a port, for as long as the `async with` block runs.

    Port 0 takes a free one. The models have no latency unless `speed` gives them some: 1 is
    life-like, 10 is ten times as fast. `tls` serves HTTPS, with a certificate in that variant. `fast` answers from templates, for measurements: no faults,
    no key, and `fast_ledger` counts what `ledger` would have itemised.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        speed: float = math.inf,
        api_key: str | None = None,
        fast: bool = False,
        tls: TlsVariant | None = None,
    ) -> None:
        self.identity = None if tls is None else Identity(tls, host=host)
        self.host = host
        self.port = port
        self.connections = ConnectionCounts()
        self.fast_ledger = FastLedger()
        self._fast = fast
        self._vendor = Vendor(speed=speed, api_key=api_key)
        self._control = Control(
            vendor=self._vendor,
            ledger=self.fast_ledger if fast else self._vendor.ledger,
            connections=self.connections,
        )
        self._open: set[Connection | FastConnection] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        tls = None if self.identity is None else self.identity.server_context()
        self._server = await loop.create_server(self._accept, self.host, self.port, backlog=4096, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        await asyncio.gather(*(connection.stop() for connection in tuple(self._open)))
        await self._server.wait_closed()

    @property
    def origin(self) -> str:
        """Return the address without a path."""
        scheme = "http" if self.identity is None else "https"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """Return the address that OpenAI's clients take as `base_url`."""
        return f"{self.origin}/v1"

    @property
    def ledger(self) -> VendorLedger:
        return self._vendor.ledger

    @property
    def journal(self) -> RequestJournal:
        return self._vendor.journal

    def script(
        self,
        fault: Fault | str,
        *,
        model: str | None = None,
        contains: str | None = None,
        key: str | None = None,
        times: int | None = None,
    ) -> None:
        """Let the next `times` requests that match (all, if None) meet a fault; `key` is what they are made with.

        :raises ValueError: if a textual fault is neither JSON, nor a kind, nor a status code.
        """
        parsed = parse_fault(fault) if isinstance(fault, str) else fault
        self._vendor.faults.add(Script(fault=parsed, model=model, contains=contains, key=key, times=times))

    def script_in_turn(
        self,
        faults: Iterable[Fault | str | None],
        *,
        model: str | None = None,
        contains: str | None = None,
    ) -> None:
        """Let the first request that matches meet the first fault, the next one the next; None lets one go well.

        :raises ValueError: if a textual fault is neither JSON, nor a kind, nor a status code.
        """
        parsed = [parse_fault(fault) if isinstance(fault, str) else fault for fault in faults]
        self._vendor.faults.add(*in_turn(parsed, model=model, contains=contains))

    def clear_faults(self) -> None:
        """Heal everything."""
        self._vendor.faults.clear()

    def _accept(self) -> Connection | FastConnection:
        if self._fast:
            connection: Connection | FastConnection = FastConnection(
                ledger=self.fast_ledger, handle=self._handle, on_lost=self._forget
            )
            self._note(connection)
            return connection
        return Connection(handle=self._handle, on_made=self._note, on_lost=self._forget)

    def _note(self, connection: Connection | FastConnection) -> None:
        """A connection stands, TLS and all."""
        self._open.add(connection)
        self.connections.open += 1
        self.connections.accepted += 1

    def _forget(self, connection: Connection | FastConnection) -> None:
        self._open.discard(connection)
        self.connections.open -= 1

    def _handle(self, request: HttpRequest) -> Exchange:
        if request.path == "/healthz":
            return Exchange(reply=Reply.json({"status": "ok"}))
        if request.path.startswith(PREFIX):
            return Exchange(reply=self._control.handle(request))
        return self._vendor.handle(request)


@contextmanager
def serve_in_thread(server: SandboxServer) -> Iterator[SandboxServer]:
    """Run a server in an event loop of its own, for callers that have none.

    `script`, `clear_faults`, `ledger`, `journal` and `connections` may be used from any thread.
    """
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="sandbox", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
