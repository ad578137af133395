"""Reads along what clients and a gateway say to each other, whichever library the clients speak HTTP with."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import httptools

_AT_ONCE = 64 * 1024


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What one request was for, and what came back. `is_whole` once the answer has ended as HTTP has it end."""

    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    is_whole: bool = False


class Wiretap:
    """Stands between clients and a server of this machine; clients are given `url`. A hang-up is passed on at once."""

    def __init__(self, *, port: int) -> None:
        self.url = ""
        self._port = port
        self._exchanges: list[Exchange] = []

    def clear(self) -> None:
        """Forget what went by."""
        self._exchanges = []

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What went by since, oldest first."""
        return tuple(self._exchanges)

    def note(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection on, until either side ends it."""
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)
        asked: deque[Exchange] = deque()
        ways = [
            asyncio.ensure_future(_carry(reader, ours, _Requests(self, asked).parser)),
            asyncio.ensure_future(_carry(theirs, writer, _Responses(asked).parser)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (ours, writer):
                end.close()


class _Requests:
    """Notes what is asked on one connection."""

    def __init__(self, tap: Wiretap, asked: deque[Exchange]) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self._tap = tap
        self._asked = asked
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_headers_complete(self) -> None:
        exchange = Exchange(path=self._url.decode().partition("?")[0])
        self._url = b""
        self._asked.append(exchange)
        self._tap.note(exchange)


class _Responses:
    """Notes what is answered on one connection, in the order in which it was asked."""

    def __init__(self, asked: deque[Exchange]) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self._asked = asked

    def on_header(self, name: bytes, value: bytes) -> None:
        self._asked[0].headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self._asked[0].status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._asked[0].body += body

    def on_message_complete(self) -> None:
        self._asked.popleft().is_whole = True


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, parser: Any) -> None:
    """Carry one direction to its end. What was carried has been noted before the other side can know it."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_AT_ONCE):
            parser.feed_data(data)
            writer.write(data)
            await writer.drain()


@contextlib.contextmanager
def open_wiretap(port: int) -> Iterator[Wiretap]:
    """Listen in front of the server at `port`, in an event loop of its own."""
    tap = Wiretap(port=port)
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="wiretap", daemon=True)
    thread.start()
    try:
        listening = asyncio.start_server(tap.join, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(listening, loop).result()
        tap.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield tap
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    joined = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in joined:
        task.cancel()
    await asyncio.gather(*joined, return_exceptions=True)
