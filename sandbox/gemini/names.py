"""Names of fields: Google takes each in two spellings, and writes of it in one of them when it is wrong."""

import re
from collections.abc import Mapping
from typing import Any

_AS_THEY_ARE = frozenset({"args", "response", "parametersJsonSchema", "responseJsonSchema"})
"""Fields that hold whatever the caller likes."""
_NAMED_BY_THE_CALLER = "properties"
_HUMP = re.compile(r"_([a-z])")
_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


def camel(value: Any) -> Any:
    """Return a request with every field that is Google's own in camel case."""
    match value:
        case Mapping():
            return {(name := _camel(key)): _inside(name, inner) for key, inner in value.items()}
        case list():
            return [camel(item) for item in value]
        case _:
            return value


def snake(path: str) -> str:
    """Return a path to a field as Google writes it in an error."""
    return _CAPITAL.sub(r"_\1", path).lower()


def _inside(name: str, value: Any) -> Any:
    if name in _AS_THEY_ARE:
        return value
    if name == _NAMED_BY_THE_CALLER and isinstance(value, Mapping):
        return {key: camel(inner) for key, inner in value.items()}
    return camel(value)


def _camel(key: str) -> str:
    return _HUMP.sub(lambda found: found[1].upper(), key)
