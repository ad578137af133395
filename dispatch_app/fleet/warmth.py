"""Which models are cold: idle for so long that their next call has to wait until they are up again. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from policies_app.routing.types import CatalogueModel


def cold_penalties(
    models: Iterable[CatalogueModel], *, last_used_at: Mapping[int, datetime], now: datetime
) -> dict[str, int]:
    """By name, what a cold start adds to the models that are cold now. One that was never used is cold."""
    return {
        model.name: model.cold_penalty_ms
        for model in models
        if model.cold_after_s is not None and is_cold(model.cold_after_s, last_used_at.get(model.id), now)
    }


def is_cold(cold_after_s: int, last_used_at: datetime | None, now: datetime) -> bool:
    """Whether a model has been idle for longer than it stays warm."""
    return last_used_at is None or now - last_used_at > timedelta(seconds=cold_after_s)


def latest_uses(*sources: Mapping[int, datetime]) -> dict[int, datetime]:
    """When each model was last used, by all that is known."""
    latest: dict[int, datetime] = {}
    for source in sources:
        for model_id, at in source.items():
            latest[model_id] = max(at, latest.get(model_id, at))
    return latest
