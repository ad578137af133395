"""What the API answers when something cannot be done: a 4xx that names the field, never a 500 for bad input."""

from dataclasses import asdict
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError, IntegrityError
from django.db.models import ProtectedError
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from policies_app.services.api_keys import ApiKeyLabelTakenError, ApiKeyPolicyError
from policies_app.services.budget_raises import BudgetNotRaisedError
from policies_app.services.budgets import BudgetNotSavedError
from policies_app.services.credentials import UnusableSecretError
from policies_app.services.errors import ServiceError
from policies_app.services.kill_switches import KillSwitchNotThrownError
from policies_app.services.prices import PriceExistsError
from policies_app.services.rate_limits import RateLimitNotSavedError

_CONSTRAINTS: dict[str, tuple[str, str]] = {
    "api_key_label_unique": ("label", "This tenant already has a key of that label."),
    "budget_downgrades_step_by_step": (
        "mid_from_pct",
        "This step has to come before the one to small models.",
    ),
    "budget_month_begins_on_a_day": ("month_begins_on", "A month begins on one of its days, 1 to 31."),
    "budget_scope_tag_names_one": (
        "tag",
        "Fill in a tag such as project=apollo if, and only if, the scope is tag.",
    ),
    "budget_limit_not_negative": ("limit_nanos", "The limit cannot be negative."),
    "budget_raise_ends_after_its_start": ("ends_at", "It has to end after it begins."),
    "budget_name_unique": ("name", "This tenant already has a budget of that name."),
    "budget_scope_names_its_subject": ("scope", "Fill in exactly the field that the scope names."),
    "credential_label_unique": ("label", "This provider already has a credential of that label."),
    "kill_switch_has_reason": ("reason", "Say why."),
    "kill_switch_lifted_by_second_person": ("lifted_by_name", "Somebody else has to lift it."),
    "kill_switch_scope_names_its_subject": ("scope", "Name the subject that the scope asks for."),
    "model_output_fits_context": ("max_output_tokens", "The output limit cannot exceed the context window."),
    "price_one_per_instant": ("effective_from", "This model already has a price from that instant on."),
    "rate_limit_lets_something_through": ("limit", "To let nothing through, use a kill switch."),
    "rate_limit_one_of_a_kind_of_api_key": ("kind", "This key already has a limit of this kind."),
    "rate_limit_one_of_a_kind_of_model": ("kind", "This model already has a limit of this kind."),
    "rate_limit_one_of_a_kind_of_tenant": ("kind", "This tenant already has a limit of this kind."),
    "rate_limit_scope_names_its_subject": ("scope", "Fill in exactly the field that the scope names."),
    "rule_name_unique": ("rules", "Two rules of one policy cannot have the same name."),
    "rule_one_default": ("rules", "A policy has only one default rule."),
}
"""By name of the constraint: the field to change, and what to tell whoever filled it in."""


_SERVICE_FIELDS: dict[type[ServiceError], str] = {
    ApiKeyLabelTakenError: "label",
    ApiKeyPolicyError: "policies",
    PriceExistsError: "effective_from",
    UnusableSecretError: "secret",
}
"""Refusals of the services that one field is to blame for."""


class ConflictError(exceptions.APIException):
    """The request is well formed, but things do not stand so that it can be done."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class BodyTooLargeError(exceptions.APIException):
    """The body is longer than Django takes."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."
    default_code = "too_large"


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer what the services, the models and the database refuse in DRF's own shape."""
    return exception_handler(_as_api_error(error), context)


def _as_api_error(error: Exception) -> Exception:
    match error:
        case ServiceError():
            return _service_error(error)
        case DjangoValidationError():
            return exceptions.ValidationError(_messages(error))
        case ProtectedError():
            return ConflictError({"detail": "Other rows still use it: switch it off instead."})
        case RequestDataTooBig():
            return BodyTooLargeError()
        case IntegrityError() | DataError():
            return _database_error(error)
        case _:
            return error


def _service_error(error: ServiceError) -> Exception:
    if field := _SERVICE_FIELDS.get(type(error)):
        return exceptions.ValidationError({field: [str(error)]})
    if isinstance(
        error, BudgetNotSavedError | BudgetNotRaisedError | KillSwitchNotThrownError | RateLimitNotSavedError
    ):
        return exceptions.ValidationError({"non_field_errors": [str(error)]})
    findings = [asdict(finding) for finding in getattr(error, "findings", ())]
    return ConflictError({"detail": str(error), "findings": findings} if findings else {"detail": str(error)})


def _messages(error: DjangoValidationError) -> dict[str, list[str]]:
    if not hasattr(error, "error_dict"):
        return {"non_field_errors": error.messages}
    return {("non_field_errors" if k == "__all__" else k): v for k, v in error.message_dict.items()}


def _database_error(error: IntegrityError | DataError) -> Exception:
    if isinstance(error, DataError):
        return exceptions.ValidationError(
            {"non_field_errors": ["A value is too long, too large, or no text."]}
        )
    name = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
    if name not in _CONSTRAINTS:
        return error
    field, message = _CONSTRAINTS[name]
    return exceptions.ValidationError({field: [message]})
