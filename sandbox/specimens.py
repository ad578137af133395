"""JSON that fits a schema: what a model returns under `response_format` or as a tool's arguments."""

import math
from typing import Any

from sandbox.answers import Answer
from sandbox.errors import ApiError

_MAX_DEPTH = 16
_SMALL_STEP = 1e-6
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uuid": "6f1ed002-ab5f-4f3c-9a6b-0a2f3b1c4d5e",
    "uri": "https://example.com/",
}


def fit_schema(schema: dict[str, Any], *, answer: Answer) -> Any:
    """Return a value that fits a simple schema and carries the answer where there is room for it.

    A free string is the answer's text; a number named `confidence` is the model's confidence. Knows
    types, properties, items, enum, const, anyOf, oneOf, allOf, local references, formats and bounds;
    not patterns.

    :raises ApiError: if the schema is none.
    """
    try:
        return _Specimen(schema, answer).fit(schema, name="", depth=0)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ApiError(status=400, message=f"Invalid schema: {error}", param="response_format") from error


class _Specimen:
    def __init__(self, root: dict[str, Any], answer: Answer) -> None:
        self._root = root
        self._answer = answer

    def fit(self, schema: dict[str, Any], *, name: str, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            return None
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        if (inner := self._resolve(schema)) is not None:
            return self.fit(inner, name=name, depth=depth + 1)
        return self._fit_type(schema, name=name, depth=depth)

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any] | None:
        if reference := schema.get("$ref"):
            return self._follow(reference)
        if parts := schema.get("allOf"):
            return {key: value for part in parts for key, value in part.items()}
        options = schema.get("anyOf") or schema.get("oneOf") or ()
        return next(iter(options), None)

    def _follow(self, reference: str) -> dict[str, Any]:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(step, {}) if step else found
        return dict(found)

    def _fit_type(self, schema: dict[str, Any], *, name: str, depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        match kind[0] if isinstance(kind, list) else kind:
            case "object":
                properties = schema.get("properties", {})
                return {key: self.fit(inner, name=key, depth=depth + 1) for key, inner in properties.items()}
            case "array":
                item = self.fit(schema.get("items", {}), name=name, depth=depth + 1)
                return [item] * max(1, schema.get("minItems", 1))
            case scalar:
                return self._fit_scalar(scalar, schema, name)

    def _fit_scalar(self, kind: str, schema: dict[str, Any], name: str) -> Any:
        match kind:
            case "string":
                return self._fit_string(schema)
            case "integer":
                return int(_within_bounds(1, schema, step=1))
            case "number":
                value = self._answer.confidence if name == "confidence" else 1.0
                return _within_bounds(value, schema, step=_SMALL_STEP)
            case "boolean":
                return self._answer.right
            case _:
                return None

    def _fit_string(self, schema: dict[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self._answer.text.ljust(schema.get("minLength", 0), ".")
        return text[: schema.get("maxLength", len(text))]


def _within_bounds(value: float, schema: dict[str, Any], *, step: float) -> float:
    lowest: float = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf) + step)
    highest: float = schema.get("maximum", schema.get("exclusiveMaximum", math.inf) - step)
    return max(lowest, min(value, highest))
