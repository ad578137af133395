"""The fields of a body, checked against what they have to be, whatever the client's format."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from dispatch_app.gateway.errors import RequestError

_Fields = TypeVar("_Fields", bound=msgspec.Struct)
_MISSING = re.compile(r"Object missing required field `(.*)`")


def check_fields(document: Mapping[str, Any], kind: type[_Fields]) -> _Fields:
    """The fields of a request that are checked, as a `kind` of struct.

    :raises RequestError: if one of them is missing or not what it has to be; its path is named.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise _as_request_error(error) from error


def _as_request_error(error: msgspec.ValidationError) -> RequestError:
    problem, _, path = str(error).partition(" - at `$")
    param = path.rstrip("`").removeprefix(".")
    if missing := _MISSING.fullmatch(problem):
        param = f"{param}.{missing[1]}" if param else missing[1]
        problem = "Field required."
    elif problem.startswith("Invalid enum"):
        # The message repeats the caller's value, which may be of any size.
        problem = "This value is not one of those allowed."
    else:
        problem = f"{problem}."
    return RequestError(param=param or None, detail=f"{param}: {problem}" if param else problem)
