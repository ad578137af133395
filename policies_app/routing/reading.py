"""Between frozen dataclasses and JSON-ready builtins, strictly: every complaint names its place in the document."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import EnumType
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from policies_app.routing.conditions import CONDITION_KINDS, Condition
from policies_app.routing.operands import OperandError
from policies_app.routing.validators import VALIDATOR_KINDS, Validator

_TAGGED: tuple[tuple[Any, Mapping[str, type]], ...] = (
    (Condition, CONDITION_KINDS),
    (Validator, VALIDATOR_KINDS),
)
"""The unions whose members documents tell apart by `kind`."""


class DocumentError(ValueError):
    """A document that is not one. `path` is the place, such as `rules[2].route.deadline_ms`; `problem` is in words."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, tuples as lists; conditions and validators carry their `kind`."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": value.kind} if isinstance(value, Condition | Validator) else {}
        return kind | {field.name: plain(getattr(value, field.name)) for field in _stated_fields(type(value))}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return msgspec.to_builtins(value)


def read_value(value: object, expected: Any, path: str) -> Any:
    """Read `value`, found at `path`, as the type `expected`.

    :raises DocumentError: if it is none.
    """
    for union, kinds in _TAGGED:
        if expected == union:
            return _read_tagged(value, kinds, path)
    if value is not None and (inner := _dataclass_or_none(expected)):
        return _read_dataclass(value, inner, path)
    if is_dataclass(expected):
        return _read_dataclass(value, expected, path)
    if get_origin(expected) is tuple:
        return _read_items(value, get_args(expected)[0], path)
    return _read_leaf(value, expected, path)


def _read_tagged(value: object, kinds: Mapping[str, type], path: str) -> Any:
    mapping = _mapping(value, path)
    kind = mapping.get("kind")
    expected = kinds.get(kind) if isinstance(kind, str) else None
    if expected is None:
        raise DocumentError(_join(path, "kind"), f"must be one of {', '.join(kinds)}")
    return _read_dataclass({key: item for key, item in mapping.items() if key != "kind"}, expected, path)


def _dataclass_or_none(expected: Any) -> Any:
    """The dataclass of an annotation `Dataclass | None`; None for any other."""
    members = [member for member in get_args(expected) if member is not NoneType]
    is_optional = len(members) == 1 and get_origin(expected) is UnionType
    return members[0] if is_optional and is_dataclass(members[0]) else None


def _read_dataclass(value: object, expected: Any, path: str) -> Any:
    mapping = _mapping(value, path)
    stated = {field.name: field for field in _stated_fields(expected)}
    for key in mapping:
        if key not in stated:
            raise DocumentError(_join(path, str(key)), f"is not known; known are {', '.join(stated)}")
    for name, field in stated.items():
        if name not in mapping and field.default is MISSING:
            raise DocumentError(_join(path, name), "is missing")
    hints = _type_hints(expected)
    operands = {name: read_value(item, hints[name], _join(path, name)) for name, item in mapping.items()}
    return _build(expected, operands, path)


def _build(expected: Any, operands: dict[str, Any], path: str) -> Any:
    try:
        return expected(**operands)
    except OperandError as error:
        name, _, problem = str(error).partition(": ")
        raise DocumentError(_join(path, name), problem) from error


def _read_items(value: object, expected: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise DocumentError(path, "must be a list")
    return tuple(read_value(item, expected, f"{path}[{index}]") for index, item in enumerate(value))


def _read_leaf(value: object, expected: Any, path: str) -> Any:
    try:
        return msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        raise DocumentError(path, _in_words(error, expected)) from error


def _in_words(error: msgspec.ValidationError, expected: Any) -> str:
    if isinstance(expected, EnumType):
        return f"must be one of {', '.join(expected.__members__.values())}"
    problem = str(error).partition(" - at ")[0]
    return (problem[0].lower() + problem[1:]).replace("`", "")


def _mapping(value: object, path: str) -> Mapping[Any, object]:
    if not isinstance(value, Mapping):
        raise DocumentError(path, "must be a mapping")
    return value


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@cache
def _stated_fields(expected: Any) -> tuple[Field[Any], ...]:
    """The fields that a document states: those that the value is built from."""
    return tuple(field for field in fields(expected) if field.init)


@cache
def _type_hints(expected: Any) -> dict[str, Any]:
    return get_type_hints(expected)
