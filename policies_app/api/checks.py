"""Checks that every serializer makes on top of DRF's own."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that do not exist, so that a typing error is not silently ignored.

    Read-only fields may be sent back as they were read; they change nothing.
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (unknown := sorted(set(data) - set(self.fields))):
            raise serializers.ValidationError({str(name): ["There is no such field."] for name in unknown})
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if errors := self.field_errors(self._values_after(attrs)):
            raise serializers.ValidationError({field: [message] for field, message in errors.items()})
        return attrs

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        """What is wrong with the fields taken together, as they would stand afterwards."""
        return {}

    def _values_after(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The fields as they are now, under the changes that a partial update makes."""
        if self.instance is None:
            return dict(changes)
        kept = [name for name, field in self.fields.items() if not (field.read_only or field.write_only)]
        return {name: getattr(self.instance, name) for name in kept} | dict(changes)


class StrictModelSerializer(StrictSerializer, serializers.ModelSerializer[Any]):
    """A strict serializer of a row. Uniqueness over several fields is the database's to refuse, naming the field."""

    def get_validators(self) -> list[Any]:
        return []
