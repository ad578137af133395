"""Which requests a fault befalls."""

from collections.abc import Iterable, Sequence
from threading import Lock

import msgspec

from sandbox.faults import Fault, FaultKind
from sandbox.refusals import REFUSALS


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault and the requests that it befalls: of one model, holding a text, made with one key, so many times.

    Without a fault, those requests go well.
    """

    fault: Fault | None
    model: str | None = None
    contains: str | None = None
    key: str | None = None
    times: int | None = None

    def matches(self, *, model: str, text: str, keys: str = "") -> bool:
        return (
            self.model in {None, model}
            and (self.contains is None or self.contains in text)
            and (self.key is None or self.key in keys)
        )


def parse_fault(text: str) -> Fault:
    """Read a fault from JSON, or from its short form: a refusal's name, a kind or a status code.

    :raises ValueError: if the text is none of these.
    """
    if text.startswith("{"):
        return msgspec.json.decode(text, type=Fault)
    if (refusal := REFUSALS.get(text)) is not None:
        return refusal
    if not text.isdigit():
        return Fault(kind=FaultKind(text))
    status = int(text)
    return Fault(kind=FaultKind.REDIRECT if 300 <= status < 400 else FaultKind.STATUS, status=status)


def in_turn(
    faults: Iterable[Fault | None], *, model: str | None = None, contains: str | None = None
) -> tuple[Script, ...]:
    """Return scripts by which the first call that matches meets the first fault, the next one the next."""
    return tuple(Script(fault=fault, model=model, contains=contains, times=1) for fault in faults)


def parse_script(text: str) -> Script:
    """Read a script from JSON; a bare fault, or its short form, befalls every request.

    :raises ValueError: if the text is none of these.
    """
    if not text.startswith("{") or "fault" not in msgspec.json.decode(text):
        return Script(fault=parse_fault(text))
    return msgspec.json.decode(text, type=Script)


class FaultBoard:
    """The scripts in force. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._scripts: list[Script] = []

    def add(self, *scripts: Script) -> None:
        """Put scripts in force at once, behind those that are there."""
        with self._lock:
            self._scripts += scripts

    def clear(self) -> None:
        with self._lock:
            self._scripts.clear()

    @property
    def scripts(self) -> Sequence[Script]:
        with self._lock:
            return tuple(self._scripts)

    def take(self, *, model: str, text: str, keys: str) -> Fault | None:
        """Return the fault of the first script that matches, and count it down.

        `keys` holds whatever the request showed to say whose it is.
        """
        with self._lock:
            for position, script in enumerate(self._scripts):
                if script.matches(model=model, text=text, keys=keys):
                    self._count_down(position, script)
                    return script.fault
        return None

    def _count_down(self, position: int, script: Script) -> None:
        if script.times is None:
            return
        if script.times > 1:
            self._scripts[position] = msgspec.structs.replace(script, times=script.times - 1)
        else:
            del self._scripts[position]
