"""Server-sent events, decoded from whatever pieces the network hands over. Performs no I/O."""

import msgspec

MAX_EVENT_BYTES = 1024 * 1024


class EventTooLongError(ValueError):
    """One event, or one line, exceeds its limit."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event: its type, empty when unnamed, and its data lines joined by line feeds."""

    name: bytes
    data: bytes


class EventDecoder:
    """Turns bytes into events. How the bytes are split makes no difference."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._rest = b""
        self._ended_with_cr = False
        self._is_first_line = True
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; return the events that they complete.

        :raises EventTooLongError: if an event grows past the limit.
        """
        if not chunk:
            return []
        if self._ended_with_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._ended_with_cr = chunk.endswith(b"\r") if chunk else False
        lines = (self._rest + chunk).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        self._check_size(len(self._rest))
        return [event for line in lines if (event := self._take_line(line.rstrip(b"\r\n"))) is not None]

    def close(self) -> list[Event]:
        """Take the end of the stream; return the event that it completes, if any."""
        lines = [self._rest, b""] if self._rest else [b""]
        self._rest = b""
        return [event for line in lines if (event := self._take_line(line)) is not None]

    def _take_line(self, line: bytes) -> Event | None:
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._complete()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._check_size(len(value))
            self._size += len(value)
            self._data.append(value)
        elif field == b"event":
            self._name = value
        return None

    def _complete(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data, self._size = b"", [], 0
        return Event(name=name, data=b"\n".join(data)) if data else None

    def _check_size(self, size: int) -> None:
        if self._size + size > self._max_event_bytes:
            raise EventTooLongError
