"""Rows as processes publish them, written by hand."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.utils import timezone

from dispatch_app.models import ProcessLoad, TargetHealth
from policies_app.models import Model
from policies_app.routing.codes import HealthState


def make_process(**fields: Any) -> UUID:
    """A process that serves; its id."""
    process_id = uuid4()
    ProcessLoad.objects.create(
        process_id=process_id,
        **{"in_flight": 0, "retries_left": 3, "hedges_left": 0, "seen_at": timezone.now()} | fields,
    )
    return process_id


def make_target(
    process_id: UUID,
    model: Model,
    *,
    state: HealthState = HealthState.HEALTHY,
    remaining_s: float | None = None,
    **fields: Any,
) -> TargetHealth:
    """How `process_id` sees `model`."""
    now = timezone.now()
    until = None if remaining_s is None else now + timedelta(seconds=remaining_s)
    return TargetHealth.objects.create(
        process_id=process_id,
        provider_id=model.provider_id,
        model_id=model.pk,
        provider=model.provider.name,
        model=model.name,
        state=state,
        until=until,
        **{
            "credential": "",
            "region": "",
            "cause": "",
            "is_learned": False,
            "is_being_probed": False,
            "provider_is_degraded": False,
            "consecutive_failures": 0,
            "window_calls": 0,
            "window_failures": 0,
            "calls": 0,
            "failures": 0,
            "last_fault": "",
            "shared_cause": "",
            "seen_at": now,
        }
        | fields,
    )
