"""JSON from strangers: read strictly, or refused.

Refused are: text that is not UTF-8, NaN and infinities, lone surrogates, U+0000, a name twice in one object, nesting
beyond 64 levels and more than 100,000 values. The dear checks run only where a count of bytes says that they might find
something.
"""

import json
import re
from typing import Any

import msgspec

from dispatch_app.gateway.errors import RequestError

MOST_LEVELS = 64
MOST_VALUES = 100_000

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_decode = msgspec.json.Decoder().decode


class _DuplicateNameError(ValueError):
    pass


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that `body` is.

    :raises RequestError: if it is anything else, or one of the things above.
    """
    try:
        document = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(detail="The body is not valid JSON.") from error
    if not isinstance(document, dict):
        raise RequestError(detail="The body must be a JSON object.")
    _check_size(body, document)
    if b"\\u0000" in body and _NUL.search(body):
        raise RequestError(detail="The body contains the character U+0000.")
    _check_names(body)
    return document


def _check_size(body: bytes, document: object) -> None:
    """Brackets bound the depth and, with commas, the number of values; only when they exceed it is the tree walked."""
    brackets = body.count(b"[") + body.count(b"{")
    if brackets > MOST_LEVELS or brackets + body.count(b",") > MOST_VALUES:
        _walk(document)


def _walk(document: object) -> None:
    containers: list[object] = [document]
    values = depth = 0
    while containers:
        children = [child for container in containers for child in _children(container)]
        depth += 1
        values += len(children)
        if depth > MOST_LEVELS or values > MOST_VALUES:
            raise RequestError(detail="The body is nested too deeply or holds too many values.")
        containers = [child for child in children if isinstance(child, dict | list)]


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _check_names(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=_unique)
    except _DuplicateNameError as error:
        raise RequestError(detail="The body has a name twice in one object.") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(detail="The body is not valid JSON.") from error


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _DuplicateNameError
