"""Models of the fleet, added with what the catalogue knows of them."""

import re

from django.core.exceptions import ValidationError
from django.db import transaction

from policies_app.models import Model, Provider
from policies_app.services.audit import record_creation
from policies_app.services.errors import ServiceError

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]+")


class ModelNotAddedError(ServiceError):
    """The model contradicts itself or another one."""


def name_for(wire_name: str, *, provider: Provider) -> str:
    """What to call a model of that wire name: the same in the letters that names have, after its provider if that is taken."""
    name = _NOT_IN_NAMES.sub("-", wire_name).strip("-")[:128]
    taken = Model.objects.filter(name=name).exists()
    return f"{provider.name}-{name}"[:128] if taken else name


@transaction.atomic
def add_model(*, model: Model, author_name: str, reason: str = "") -> None:
    """Save a new model. Until it has a price, it is never called.

    :raises ModelNotAddedError: if a field is wrong, the output limit exceeds the context window, or the name is taken.
    """
    try:
        model.full_clean()
    except ValidationError as error:
        raise ModelNotAddedError(f"{model.name} cannot be added: {' '.join(error.messages)}") from error
    model.save()
    record_creation(subject=model, author_name=author_name, reason=reason)
