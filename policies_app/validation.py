"""What is wrong with the fields of a row, by field, in words for whoever typed them.

The database refuses the same rows; these functions say which field to change. The admin's forms and the API's serializers
ask them. They take values by field name and perform no I/O.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sized
from datetime import datetime
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for

from policies_app.fixed_parameters import fixed_parameters_error
from policies_app.routing.codes import (
    BudgetAction,
    BudgetScope,
    Capability,
    KillScope,
    RateLimitScope,
    Strategy,
    WireFeature,
    WireFormat,
)
from policies_app.routing.compilation import DIRECT_POLICY
from policies_app.routing.wire_formats import inexpressible

Values = Mapping[str, Any]
FieldErrors = dict[str, str]

CONDITION_FIELDS = (
    "tasks",
    "tenants",
    "end_users",
    "tags",
    "input_tokens_min",
    "input_tokens_max",
    "output_tokens_min",
    "output_tokens_max",
    "needs",
    "budget_scope",
    "budget_used_pct_min",
    "conditions",
)

EMBEDS_ONLY = "A model that gives embeddings does nothing else: untick the others."
UNCONDITIONAL = "The default rule takes whatever is left, so it has no conditions."

KILL_SUBJECTS: Mapping[str, tuple[str, ...]] = {
    KillScope.EVERYTHING: (),
    KillScope.PROVIDER: ("provider",),
    KillScope.MODEL: ("model",),
    KillScope.POLICY: ("policy",),
    KillScope.RULE: ("policy", "rule_name"),
    KillScope.TENANT: ("tenant",),
    KillScope.API_KEY: ("api_key",),
    KillScope.END_USER: ("tenant", "end_user"),
}
"""Which fields a kill switch of each scope fills in."""

SMALL_FROM_PCT = 80
"""From which use on a budget that downgrades forces small models, where nothing else is said."""

BUDGET_SUBJECTS: Mapping[str, tuple[str, ...]] = {
    BudgetScope.TENANT: (),
    BudgetScope.END_USER: (),
    BudgetScope.API_KEY: ("api_key",),
    BudgetScope.POLICY: ("policy",),
    BudgetScope.TAG: ("tag",),
}
"""Which fields a budget of each scope must fill in. An end user is optional: empty means each one separately."""


RATE_LIMIT_SUBJECTS: Mapping[str, tuple[str, ...]] = {
    RateLimitScope.TENANT: ("tenant",),
    RateLimitScope.API_KEY: ("api_key",),
    RateLimitScope.MODEL: ("model",),
}
"""Which field a rate limit of each scope fills in."""


def policy_errors(values: Values) -> FieldErrors:
    """What is wrong with a policy, its rules aside."""
    if values.get("name") == DIRECT_POLICY:
        return {"name": f"“{DIRECT_POLICY}” is reserved for callers that name a model instead of a policy."}
    return {}


def rule_errors(values: Values) -> FieldErrors:
    """What is wrong with a rule, its steps aside."""
    return dict(_rule_errors(values))


def step_count_error(*, strategy: str, steps: int) -> str:
    """What is wrong with the number of a rule's steps; empty if nothing is.

    A rule without steps is a fair draft: publishing refuses it.
    """
    if strategy == Strategy.SINGLE and steps > 1:
        return f"The strategy single takes one step; this rule has {steps}. Remove some, or choose failover."
    return ""


def kill_switch_errors(values: Values) -> FieldErrors:
    """Which subject fields do not go with the scope."""
    scope = str(values.get("scope") or "")
    return _subject_errors(
        values, scope=scope, wanted=KILL_SUBJECTS.get(scope, ()), subjects=_fields_of(KILL_SUBJECTS)
    )


def budget_errors(values: Values) -> FieldErrors:
    """Which subject fields do not go with the scope, or belong to another tenant."""
    scope = str(values.get("scope") or "")
    subjects = {*_fields_of(BUDGET_SUBJECTS), "end_user"}
    if scope == BudgetScope.END_USER:
        subjects.discard("end_user")
    errors = _subject_errors(values, scope=scope, wanted=BUDGET_SUBJECTS.get(scope, ()), subjects=subjects)
    tag = [values["tag"]] if values.get("tag") else []
    errors |= _downgrade_errors(values) | dict(_tag_errors(tag, field="tag"))
    api_key, tenant = values.get("api_key"), values.get("tenant")
    if api_key and tenant and api_key.tenant_id != tenant.pk:
        errors.setdefault("api_key", f"This key belongs to {api_key.tenant}, not to {tenant}.")
    return errors


def _downgrade_errors(values: Values) -> FieldErrors:
    mid, small = values.get("mid_from_pct"), values.get("small_from_pct", SMALL_FROM_PCT)
    if values.get("action") == BudgetAction.DOWNGRADE and mid is None and small is None:
        return {"small_from_pct": "Say from which percentage on smaller models are forced."}
    if mid is not None and small is not None and mid >= small:
        return {
            "mid_from_pct": f"Only small models are asked from {small} % on: this step has to come before."
        }
    return {}


def raise_errors(values: Values, *, now: datetime) -> FieldErrors:
    """What is wrong with the end of a budget's raise."""
    starts_at, ends_at = values.get("starts_at") or now, values.get("ends_at")
    if ends_at is not None and ends_at <= now:
        return {"ends_at": "This lies in the past: nothing would be raised."}
    if ends_at is not None and ends_at <= starts_at:
        return {"ends_at": "It has to end after it begins."}
    return {}


def rate_limit_errors(values: Values) -> FieldErrors:
    """Which subject fields do not go with the scope."""
    scope = str(values.get("scope") or "")
    return _subject_errors(
        values,
        scope=scope,
        wanted=RATE_LIMIT_SUBJECTS.get(scope, ()),
        subjects=_fields_of(RATE_LIMIT_SUBJECTS),
    )


def schema_error(schema: Mapping[str, Any]) -> str:
    """What is wrong with a JSON Schema that answers shall satisfy; empty if nothing is."""
    try:
        validator_for(schema).check_schema(dict(schema))
    except SchemaError as error:
        return f"This is no JSON Schema: {error.message}."
    return "" if _is_storable(schema) else "The schema has a text that cannot be stored."


def model_errors(values: Values) -> FieldErrors:
    """What of a fleet model contradicts itself or its provider, and parameters that its row cannot fix."""
    return dict(_model_errors(values))


def _model_errors(values: Values) -> Iterator[tuple[str, str]]:
    yield from _embedding_errors(values)
    context, output = values.get("context_window_tokens"), values.get("max_output_tokens")
    if context is not None and output is not None and output > context:
        yield "max_output_tokens", f"The output limit cannot exceed the context window of {context}."
    fixed = values.get("fixed_parameters")
    if fixed is None:
        return
    if problem := fixed_parameters_error(fixed):
        yield "fixed_parameters", problem
    elif not _is_storable(fixed):
        yield "fixed_parameters", "It has a text that cannot be stored."


def _embedding_errors(values: Values) -> Iterator[tuple[str, str]]:
    capabilities, provider = values.get("capabilities") or (), values.get("provider")
    if Capability.EMBEDDINGS not in capabilities:
        return
    if len(capabilities) > 1:
        yield "capabilities", EMBEDS_ONLY
    elif provider is not None:
        wire_format, wire_name = WireFormat(provider.wire_format), str(values.get("wire_name") or "")
        if WireFeature.EMBEDDINGS in inexpressible(wire_format, wire_name):
            message = f"How {provider} would be asked for embeddings of that wire name is not known."
            yield "capabilities", message


def _rule_errors(values: Values) -> Iterator[tuple[str, str]]:
    if values.get("is_default"):
        for name in CONDITION_FIELDS:
            if is_stated(values.get(name)):
                yield name, UNCONDITIONAL
        if values.get("enabled") is False:
            yield "enabled", "The default rule cannot be off: every policy needs it."
    yield from _tag_errors(values.get("tags") or (), field="tags")
    yield from _range_errors(values)
    if values.get("budget_scope") and values.get("budget_used_pct_min") is None:
        yield "budget_used_pct_min", "Say from which percentage on the rule holds."
    if values.get("budget_used_pct_min") is not None and not values.get("budget_scope"):
        yield "budget_scope", "Say which budget the percentage looks at."


def _is_storable(value: Any) -> bool:
    """Whether PostgreSQL takes the value as JSON: it knows neither NUL nor half a surrogate pair."""
    text = json.dumps(value, ensure_ascii=False)
    return "\\u0000" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def is_stated(condition: Any) -> bool:
    """Whether a rule's field says anything; zero does."""
    return (
        condition is not None and condition != "" and (not isinstance(condition, Sized) or len(condition) > 0)
    )


def _tag_errors(tags: Iterable[str], *, field: str) -> Iterator[tuple[str, str]]:
    for tag in tags:
        key, equals, value = tag.partition("=")
        if not (key.strip() and equals and value.strip()):
            yield field, f"“{tag}” is not of the form key=value."
            return


def _range_errors(values: Values) -> Iterator[tuple[str, str]]:
    for noun in ("input_tokens", "output_tokens"):
        least, most = values.get(f"{noun}_min"), values.get(f"{noun}_max")
        if least is not None and most is not None and least > most:
            yield f"{noun}_max", f"The most ({most}) is below the least ({least})."


def _subject_errors(
    values: Values, *, scope: str, wanted: tuple[str, ...], subjects: set[str]
) -> FieldErrors:
    words = scope.replace("_", " ")
    missing = {name: f"The scope {words} needs this field." for name in wanted if not values.get(name)}
    surplus = {
        name: f"The scope {words} does not use this field: leave it empty."
        for name in sorted(subjects - set(wanted))
        if values.get(name)
    }
    return missing | surplus


def _fields_of(subjects: Mapping[str, tuple[str, ...]]) -> set[str]:
    return {name for names in subjects.values() for name in names}
