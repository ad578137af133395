"""One TCP connection: takes requests in turn and performs replies, the broken ones included."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from sandbox.errors import error_body
from sandbox.vendor import Ended, Exchange
from sandbox.wire import Ending, HttpRequest, Piece, ProtocolError, Reply, RequestParser

# Linger on, for zero seconds: closing then sends RST in place of FIN.
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """Serves one client; `on_made` and `on_lost` are called with the connection when it is, TLS and all."""

    def __init__(
        self,
        *,
        handle: Callable[[HttpRequest], Exchange],
        on_made: Callable[["Connection"], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self._handle = handle
        self._on_made = on_made
        self._on_lost = on_lost
        self._client_left = False
        self._parser = RequestParser()
        self._requests: asyncio.Queue[HttpRequest | ProtocolError] = asyncio.Queue()
        self._flushed = asyncio.Event()
        self._flushed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # With no room in the buffer, "flushed" means that the kernel has every byte.
        self._transport.set_write_buffer_limits(high=0)
        self._task = asyncio.get_running_loop().create_task(self._serve())
        self._on_made(self)

    def data_received(self, data: bytes) -> None:
        try:
            for request in self._parser.feed(data):
                self._requests.put_nowait(request)
        except ProtocolError as error:
            self._requests.put_nowait(error)

    def pause_writing(self) -> None:
        self._flushed.clear()

    def resume_writing(self) -> None:
        self._flushed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        # A task that was stopped, or has ended the reply itself, is not asked any more.
        self._client_left = True
        self._task.cancel()
        self._on_lost(self)

    async def stop(self) -> None:
        """Drop the connection and wait until nothing of it is left running."""
        self._task.cancel()
        await asyncio.wait([self._task])
        # A TLS transport that is closed already has nothing to abort, and early releases of Python 3.11 stumble over it.
        with suppress(AttributeError):
            self._transport.abort()

    async def _serve(self) -> None:
        try:
            while await self._serve_next():
                pass
        finally:
            self._transport.close()

    async def _serve_next(self) -> bool:
        """Perform one reply and tell whether the connection may be used again."""
        request = await self._requests.get()
        if isinstance(request, ProtocolError):
            await self._perform(Exchange(reply=_refuse(request)))
            return False
        exchange = self._handle(request)
        await self._perform(exchange)
        return exchange.reply.ending is Ending.KEEP_ALIVE and not request.wants_close

    async def _perform(self, exchange: Exchange) -> None:
        progress = _Progress(unsent_tokens=sum(piece.output_tokens for piece in exchange.reply.pieces))
        try:
            await self._write(exchange.reply, progress)
        finally:
            if exchange.on_end is not None:
                exchange.on_end(
                    Ended(
                        seen=progress.finished,
                        unsent_tokens=progress.unsent_tokens,
                        client_left=self._client_left,
                    )
                )

    async def _write(self, reply: Reply, progress: "_Progress") -> None:
        await _pause(reply.delay_ms)
        head = reply.encode_head()
        if reply.head_byte_delay_ms:
            await self._dribble(head, reply.head_byte_delay_ms)
            head = b""
        for piece in reply.pieces or (Piece(data=b""),):
            await _pause(piece.delay_ms)
            progress.unsent_tokens -= piece.output_tokens
            await self._send(head + reply.encode_piece(piece), reply.byte_delay_ms)
            head = b""
        await self._send(reply.encode_end(), reply.byte_delay_ms)
        await self._end(reply.ending)
        progress.finished = reply.ending is Ending.KEEP_ALIVE

    async def _send(self, data: bytes, byte_delay_ms: float = 0) -> None:
        if byte_delay_ms:
            await self._dribble(data, byte_delay_ms)
        else:
            self._transport.write(data)
            await self._flushed.wait()

    async def _dribble(self, data: bytes, delay_ms: float) -> None:
        for position in range(len(data)):
            await self._send(data[position : position + 1])
            await _pause(delay_ms)

    async def _end(self, ending: Ending) -> None:
        match ending:
            case Ending.HANG:
                await asyncio.Event().wait()
            case Ending.RESET:
                connection: socket.socket = self._transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
                self._transport.abort()
            case Ending.CLOSE | Ending.KEEP_ALIVE:
                pass


class _Progress:
    """How far a reply has come; read where the writing was cancelled."""

    def __init__(self, *, unsent_tokens: int = 0) -> None:
        self.unsent_tokens = unsent_tokens
        self.finished = False


async def _pause(delay_ms: float) -> None:
    if delay_ms > 0:
        await asyncio.sleep(delay_ms / 1000)


def _refuse(error: ProtocolError) -> Reply:
    return Reply.json(error_body(message=str(error), type="invalid_request_error"), status=400)
