"""JSON from strangers: read strictly, or refused.

Refused are: text that is not UTF-8, NaN and infinities, lone surrogates, U+0000, a name twice in one object, nesting
beyond 64 levels and more values than so many. The dear checks run only where a count of bytes says that they might find
something.
"""

import json
import re
from typing import Any

import msgspec

from dispatch_app.gateway.errors import RequestError

MOST_LEVELS = 64
MOST_VALUES = 100_000

_MARKS = b"[{,:"
_OTHERS = bytes(set(range(256)).difference(_MARKS))
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_NUL_OR_COLON = re.compile(rb"\\u00(?:00|3[aA])")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class _DuplicateNameError(ValueError):
    pass


def parse_object(body: bytes, *, most_values: int = MOST_VALUES) -> dict[str, Any]:
    """Return the JSON object that `body` is.

    :raises RequestError: if it is anything else, or one of the things above.
    """
    return measured_object(body, most_values=most_values)[0]


def measured_object(body: bytes, *, most_values: int = MOST_VALUES) -> tuple[dict[str, Any], int]:
    """Return the JSON object that `body` is, and its size in bytes: as it came or as it is written anew, whichever is more.

    Only numbers can be written longer than they came: `1e15` as `1000000000000000.0`.

    :raises RequestError: if it is anything else, or one of the things above.
    """
    try:
        document = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(detail="The body is not valid JSON.") from error
    if not isinstance(document, dict):
        raise RequestError(detail="The body must be a JSON object.")
    marks = body.translate(None, _OTHERS)
    # Brackets bound the depth and all marks the number of values; only when they exceed it is the tree walked.
    if marks.count(b"[") + marks.count(b"{") > MOST_LEVELS or len(marks) > most_values:
        _check_size(document, most_values=most_values)
    written = _encode(document)
    if _NUL_OR_COLON.search(body):
        if _NUL.search(body):
            raise RequestError(detail="The body contains the character U+0000.")
        _check_names_one_by_one(body)
    # Of values with one name in one object only the last was decoded, so that each other's colon is missing from what is
    # written anew, which most clients' libraries write the same. Colons in texts are in both, as long as none came escaped.
    elif written != body and written.count(b":") != marks.count(b":"):
        raise _twice()
    return document, max(len(body), len(written))


def _check_size(document: object, *, most_values: int) -> None:
    containers: list[object] = [document]
    values = depth = 0
    while containers:
        children = [child for container in containers for child in _children(container)]
        depth += 1
        values += len(children)
        if depth > MOST_LEVELS or values > most_values:
            raise RequestError(detail="The body is nested too deeply or holds too many values.")
        containers = [child for child in children if isinstance(child, dict | list)]


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _check_names_one_by_one(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=_unique)
    except _DuplicateNameError as error:
        raise _twice() from error
    except (ValueError, RecursionError) as error:
        raise RequestError(detail="The body is not valid JSON.") from error


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _DuplicateNameError


def _twice() -> RequestError:
    return RequestError(detail="The body has a name twice in one object.")
