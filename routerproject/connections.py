"""A client's connection: uvicorn's own, which gives up clients that do not read and answers one request after the other."""

import array
import asyncio
import fcntl
import socket
import struct
import termios
from typing import Any, cast

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_RESETTING = struct.pack("ii", 1, 0)
"""Linger for zero seconds: what the client did not take is dropped, in the kernel too."""


class Connection(HttpToolsProtocol):
    """For uvicorn's `--http`.

    A client that takes nothing for `CLIENT_STALL_S` holds what waits for it in memory no longer: its connection is reset, at
    the latest when that time has passed twice. A request that is sent before the last one was answered is dropped: clients
    send it again, over another connection. To read it would mean not to notice that the client hangs up.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._look: asyncio.TimerHandle | None = None
        self._is_dropping = False

    def pause_writing(self) -> None:
        """More waits for the client than should."""
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        """The client has taken enough."""
        super().resume_writing()
        self._stop_looking()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_looking()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """A request begins."""
        last = cast("RequestResponseCycle | None", self.cycle)
        self._is_dropping = last is not None and not last.response_complete
        if self._is_dropping:
            self.cycle.keep_alive = False
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A request goes on."""
        if not self._is_dropping:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request ends."""
        if not self._is_dropping:
            super().on_message_complete()

    def _look_later(self) -> None:
        self._stop_looking()
        self._look = self.loop.call_later(settings.CLIENT_STALL_S, self._look_again, self._waiting_bytes())

    def _look_again(self, waited: int) -> None:
        if self._waiting_bytes() < waited:
            self._look_later()
        else:
            self._reset()

    def _stop_looking(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _waiting_bytes(self) -> int:
        """What the client's machine has not taken yet, in the kernel too: that takes more only when much of it is gone."""
        in_kernel = array.array("i", [0])
        fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, in_kernel)
        return self.transport.get_write_buffer_size() + in_kernel[0]

    @property
    def _socket(self) -> socket.socket:
        return cast("socket.socket", self.transport.get_extra_info("socket"))

    def _reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETTING)
        self.transport.abort()
