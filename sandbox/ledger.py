"""What the vendor would bill, and what it was sent: the oracle of every check of money."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from sandbox.completion import Usage
from sandbox.fleet import MODELS
from sandbox.wire import HttpRequest

MAX_ENTRIES = 100_000
MAX_REQUESTS = 500
MAX_PROMPT_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One call as the vendor bills it, in disjoint buckets; reasoning is part of the output.

    `seen` says that the whole reply was handed to the network while the client was still there,
    `client_left` that it hung up before. `prompt` is what was asked, as far as it tells calls apart.
    """

    id: str
    model: str
    streamed: bool
    fault: str | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    written_tokens: int
    billed: bool
    seen: bool
    at: float
    prompt: str = ""
    client_left: bool = False
    ended_at: float | None = None

    @property
    def cost_nanos(self) -> int:
        if not self.billed:
            return 0
        return MODELS[self.model].price.cost_nanos(
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            written_tokens=self.written_tokens,
            output_tokens=self.output_tokens,
        )

    def as_wire(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "cost_nanos": self.cost_nanos}


def _ends_of(prompt: str) -> str:
    """What tells a prompt from others: most begin alike, many end alike."""
    if len(prompt) <= MAX_PROMPT_CHARACTERS:
        return prompt
    half = MAX_PROMPT_CHARACTERS // 2
    return f"{prompt[:half]}…{prompt[-half:]}"


class VendorLedger:
    """The vendor's side of the bill, newest last. Safe to read from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._entries: dict[str, LedgerEntry] = {}

    def open(
        self,
        *,
        id: str,  # noqa: A002 - what the entry calls it
        model: str,
        usage: Usage,
        prompt: str,
        streamed: bool,
        fault: str | None,
        billed: bool,
    ) -> LedgerEntry:
        """Bill a call in full, before its first byte leaves."""
        entry = LedgerEntry(
            id=id,
            model=model,
            streamed=streamed,
            fault=fault,
            input_tokens=usage.prompt_tokens - usage.cached_tokens - usage.written_tokens,
            cached_tokens=usage.cached_tokens,
            written_tokens=usage.written_tokens,
            output_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            billed=billed,
            seen=False,
            at=time.time(),
            prompt=_ends_of(prompt),
        )
        with self._lock:
            self._entries[entry.id] = entry
            if len(self._entries) > MAX_ENTRIES:
                del self._entries[next(iter(self._entries))]
        return entry

    def close(self, entry_id: str, *, seen: bool, ungenerated_tokens: int, client_left: bool = False) -> None:
        """Record how the call ended; tokens that were never generated are taken off the bill."""
        with self._lock:
            if (entry := self._entries.get(entry_id)) is not None:
                output_tokens = entry.output_tokens - ungenerated_tokens
                self._entries[entry_id] = replace(
                    entry,
                    seen=seen,
                    output_tokens=output_tokens,
                    client_left=client_left,
                    ended_at=time.time(),
                )

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    @property
    def entries(self) -> Sequence[LedgerEntry]:
        with self._lock:
            return tuple(self._entries.values())

    @property
    def total_nanos(self) -> int:
        """Return the bill."""
        return sum(entry.cost_nanos for entry in self.entries)

    def total_nanos_of(self, contains: str, *, model: str | None = None) -> int:
        """Return the bill of the calls whose prompt holds a text, of one model or of all."""
        return sum(
            entry.cost_nanos
            for entry in self.entries
            if contains in entry.prompt and model in {None, entry.model}
        )

    def as_wire(self) -> dict[str, Any]:
        entries = self.entries
        return {
            "requests": len(entries),
            "total_nanos": sum(entry.cost_nanos for entry in entries),
            "entries": [entry.as_wire() for entry in entries],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """One request exactly as it came in."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    at: float

    def header(self, name: str) -> str | None:
        """Return the first value of a header, named in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class RequestJournal:
    """The last requests to the vendor's API, newest last. Safe to read from any thread."""

    def __init__(self) -> None:
        self._requests: deque[RecordedRequest] = deque(maxlen=MAX_REQUESTS)

    def record(self, request: HttpRequest) -> None:
        head = request.head
        self._requests.append(
            RecordedRequest(
                method=head.method,
                target=head.target,
                headers=head.headers,
                body=request.body,
                at=time.time(),
            )
        )

    def clear(self) -> None:
        self._requests.clear()

    @property
    def requests(self) -> Sequence[RecordedRequest]:
        return tuple(self._requests.copy())

    def as_wire(self) -> list[dict[str, Any]]:
        return [
            {
                "method": request.method,
                "target": request.target,
                "headers": request.headers,
                "body": request.body.decode(errors="replace"),
                "at": request.at,
            }
            for request in self.requests
        ]
