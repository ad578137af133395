"""Golden fixtures of vendors' wire formats: what is canonical here, what it is on the wire, and the page that says so."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from _pytest.mark import ParameterSet

from dispatch_app.execution.assembly import assemble
from dispatch_app.execution.canonical import Reply, StreamPart
from dispatch_app.providers.adapter import Adapter, StreamEnd
from policies_app.routing.types import Usage

FOLDER = Path(__file__).resolve().parents[2] / "wire" / "fixtures"


def golden(*folders: str) -> list[ParameterSet]:
    """Each fixture of a folder (a format, then `requests`, `replies` or `streams`) as a test's parameter, under its file's name."""
    paths = sorted(FOLDER.joinpath(*folders).glob("*.json"))
    assert paths, f"There are no {' '.join(reversed(folders))}."
    return [pytest.param(json.loads(path.read_text(encoding="utf-8")), id=path.stem) for path in paths]


def told(reply: Reply) -> dict[str, Any]:
    """A reply with one choice, as fixtures tell it."""
    (choice,) = reply.choices
    fields: dict[str, Any] = msgspec.to_builtins(choice)
    usage = None if reply.usage is None else _without_zeros(reply.usage)
    return {name: value for name, value in fields.items() if name != "index"} | {"usage": usage}


def read_stream(adapter: Adapter, pieces: Sequence[bytes]) -> Reply:
    """What a stream comes to. It has to end with what ends it: an event, or the end of its bytes."""
    decoder = adapter.stream_decoder()
    parts = [part for piece in pieces for part in decoder.feed(piece)]
    if not isinstance(parts[-1], StreamEnd):
        parts += decoder.close()
    assert isinstance(parts.pop(), StreamEnd)
    assert not any(isinstance(part, StreamEnd) for part in parts)
    said = [part for part in parts if isinstance(part, StreamPart)]
    return assemble(said, wire_status=200, first_byte_at=0.0)


def _without_zeros(usage: Usage) -> dict[str, int]:
    return {name: count for name in Usage.__struct_fields__ if (count := getattr(usage, name))}
