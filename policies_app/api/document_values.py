"""Conditions and validators in the API: objects as policy documents have them, told apart by `kind`."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from policies_app.routing.conditions import CONDITION_KINDS, Condition
from policies_app.routing.document import DocumentError
from policies_app.routing.reading import plain, read_value
from policies_app.routing.validators import VALIDATOR_KINDS, JsonSchemaHolds, Validator
from policies_app.validation import schema_error


class _DocumentValueField(serializers.Field[Any, Any, Any, Any]):
    """Reads a value as strictly as a document is read."""

    expected: Any

    def to_internal_value(self, data: Any) -> Any:
        try:
            return read_value(data, self.expected, "")
        except DocumentError as error:
            raise serializers.ValidationError(str(error)) from error

    def to_representation(self, value: Any) -> Any:
        return plain(value)


def _schema(kinds: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"kind": {"type": "string", "enum": sorted(kinds)}},
        "required": ["kind"],
        "additionalProperties": True,
    }


@extend_schema_field(_schema(CONDITION_KINDS))
class ConditionField(_DocumentValueField):
    expected = Condition


@extend_schema_field(_schema(VALIDATOR_KINDS))
class ValidatorField(_DocumentValueField):
    expected = Validator

    def to_internal_value(self, data: Any) -> Any:
        validator = super().to_internal_value(data)
        if isinstance(validator, JsonSchemaHolds) and (problem := schema_error(validator.schema or {})):
            raise serializers.ValidationError(problem)
        return validator
