"""The levers behind `/_control`: script faults, read the bill, see what was sent."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import msgspec

from sandbox.errors import ApiError
from sandbox.scripts import Script, parse_fault
from sandbox.vendor import Vendor
from sandbox.wire import HttpRequest, Reply

PREFIX = "/_control/"


class Bill(Protocol):
    """What the vendor would bill, in as much detail as it kept."""

    def as_wire(self) -> dict[str, Any]: ...

    def clear(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class ConnectionCounts:
    """Connections open now, and accepted since the start."""

    open: int = 0
    accepted: int = 0


class Control:
    """Answers the control endpoints of one vendor."""

    def __init__(self, *, vendor: Vendor, ledger: Bill, connections: ConnectionCounts) -> None:
        self._vendor = vendor
        self._routes: dict[tuple[str, str], Callable[[HttpRequest], Any]] = {
            ("POST", "faults"): self._add_script,
            ("GET", "faults"): lambda _request: vendor.faults.scripts,
            ("DELETE", "faults"): lambda _request: vendor.faults.clear(),
            ("GET", "ledger"): lambda _request: ledger.as_wire(),
            ("DELETE", "ledger"): lambda _request: ledger.clear(),
            ("GET", "requests"): lambda _request: vendor.journal.as_wire(),
            ("DELETE", "requests"): lambda _request: vendor.journal.clear(),
            ("GET", "connections"): lambda _request: asdict(connections),
        }

    def handle(self, request: HttpRequest) -> Reply:
        """Answer one request to a control endpoint."""
        route = self._routes.get((request.head.method, request.path.removeprefix(PREFIX)))
        if route is None:
            return Reply.json({"error": "no such lever"}, status=404)
        try:
            return Reply.json({"ok": True} if (value := route(request)) is None else value)
        except ApiError as error:
            return Reply.json(error.body, status=error.status)

    def _add_script(self, request: HttpRequest) -> None:
        try:
            fields = msgspec.json.decode(request.body, type=dict[str, Any])
            if isinstance(fields.get("fault"), str):
                fields["fault"] = parse_fault(fields["fault"])
            self._vendor.faults.add(msgspec.convert(fields, type=Script))
        except ValueError as error:
            raise ApiError(status=400, message=f"Invalid script: {error}") from error
