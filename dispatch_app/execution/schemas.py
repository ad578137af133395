"""JSON Schema, applied to answers without fetching anything and without running a stranger's regular expressions."""

from collections.abc import Mapping
from typing import Any

import msgspec
import referencing
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend, validator_for
from referencing.exceptions import Unresolvable

from dispatch_app.execution.canonical import Request

_NO_RETRIEVAL: referencing.Registry[Any] = referencing.Registry()
"""A schema that refers to an address is not followed there."""


def requested_schema(request: Request) -> Mapping[str, Any] | None:
    """The schema that the caller asks the answer to follow; any object for `json_object`; None if it asks for none."""
    wanted = request.fields.get("response_format") or {}
    match wanted.get("type"):
        case "json_schema":
            schema = (wanted.get("json_schema") or {}).get("schema")
            return schema if isinstance(schema, dict) else {}
        case "json_object":
            return {"type": "object"}
        case _:
            return None


def schema_problem(value: Any, schema: Mapping[str, Any], *, is_trusted: bool) -> str:
    """Where and how `value` offends against `schema`, in words; empty if it does not.

    Of a schema that is not trusted, regular expressions are not run: one could take for ever.
    """
    try:
        _validator_of(schema, is_trusted=is_trusted).validate(value)
    except ValidationError as error:
        return f"{error.json_path}: {error.message}"
    except SchemaError as error:
        return f"the schema itself is wrong: {error.message}"
    except (Unresolvable, RecursionError):
        return "the schema refers to what is not in it"
    return ""


def _validator_of(schema: Mapping[str, Any], *, is_trusted: bool) -> Any:
    kind = validator_for(schema)
    kind.check_schema(dict(schema))
    if not is_trusted:
        unread = dict.fromkeys(_keywords_with_expressions(schema), _passes)
        kind = extend(kind, unread)  # type: ignore[no-untyped-call]
    return kind(schema, registry=_NO_RETRIEVAL)


def _keywords_with_expressions(schema: Mapping[str, Any]) -> set[str]:
    by_name = {"patternProperties", "additionalProperties", "unevaluatedProperties"}
    has_names = b'"patternProperties"' in msgspec.json.encode(schema)
    return {"pattern"} | (by_name if has_names else set())


def _passes(*_: object) -> None:
    """A keyword that is not looked at."""
