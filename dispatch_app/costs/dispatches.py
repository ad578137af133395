"""The log, as the cost pages read it: a tenant's latest dispatches, and one dispatch with its attempts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet

from dispatch_app.costs.charts import TIME_LINE, Span, span, ticks_ms
from dispatch_app.costs.names import key_label
from dispatch_app.costs.reasons import Reason, read_reason
from dispatch_app.costs.story import tell_story, wasted_nanos
from dispatch_app.costs.told_attempts import ToldAttempt
from dispatch_app.models import Attempt, Dispatch
from policies_app.models import Model, PolicyVersion, Price, Provider, Tenant
from policies_app.routing.codes import AttemptState

PAGE_SIZE = 50
LONGEST_DISPATCH = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in the log, newest first: everything before it is the next page."""

    created_at: datetime
    id: UUID

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The place that an address names.

        :raises ValueError: if it names none.
        """
        at, _, dispatch_id = text.partition("_")
        created_at = datetime.fromisoformat(at)
        if created_at.tzinfo is None:
            raise ValueError("An instant without a time zone is none.")
        return cls(created_at=created_at, id=UUID(dispatch_id))

    def __str__(self) -> str:
        return f"{self.created_at.isoformat()}_{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchFilter:
    """Which dispatches of a tenant: from `since` up to, not including, `until`. Empty texts and None filter nothing."""

    since: datetime
    until: datetime
    status: str = ""
    model: str = ""
    task: str = ""
    end_user: str = ""
    strategy: str = ""
    validated: bool | None = None

    @property
    def wants_some(self) -> bool:
        """Whether anything but time filters."""
        return bool(self.columns)

    @property
    def columns(self) -> Mapping[str, str | bool]:
        """What rows must have in which columns, time aside."""
        texts = {
            "status": self.status,
            "model__name": self.model,
            "task": self.task,
            "end_user": self.end_user,
            "strategy": self.strategy,
        }
        wanted: dict[str, str | bool] = {column: text for column, text in texts.items() if text}
        return wanted if self.validated is None else wanted | {"validated": self.validated}


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchPage:
    """Some dispatches, newest first, and where the next ones begin, if there are any.

    `wasted_nanos` has what went to attempts that did not give the answer, by dispatch, where there were several attempts.
    """

    dispatches: tuple[Dispatch, ...]
    next_cursor: Cursor | None
    wasted_nanos: Mapping[UUID, int]


def list_dispatches(
    *, tenant: Tenant, wanted: DispatchFilter, before: Cursor | None = None, size: int = PAGE_SIZE
) -> DispatchPage:
    """The newest dispatches of a tenant before a place in the log."""
    rows = _filtered(tenant, wanted)
    if before is not None:
        # The first condition alone can use the index and leave partitions out.
        rows = rows.filter(created_at__lte=before.created_at).filter(
            Q(created_at__lt=before.created_at) | Q(id__lt=before.id)
        )
    found = list(rows.select_related("model").order_by("-created_at", "-id")[: size + 1])
    shown = tuple(found[:size])
    has_more = len(found) > size
    last = Cursor(created_at=shown[-1].created_at, id=shown[-1].id) if has_more else None
    return DispatchPage(dispatches=shown, next_cursor=last, wasted_nanos=_wasted_by_dispatch(shown))


def _filtered(tenant: Tenant, wanted: DispatchFilter) -> "QuerySet[Dispatch]":
    rows = Dispatch.objects.filter(tenant=tenant, created_at__gte=wanted.since, created_at__lt=wanted.until)
    return rows.filter(**wanted.columns)


def _wasted_by_dispatch(dispatches: Sequence[Dispatch]) -> Mapping[UUID, int]:
    several = {dispatch.id: dispatch for dispatch in dispatches if dispatch.attempts > 1}
    if not several:
        return {}
    begins = [dispatch.created_at for dispatch in several.values()]
    rows = Attempt.objects.filter(
        dispatch_id__in=several,
        # The days of the log that this can concern: the others are left out.
        created_at__gte=min(begins),
        created_at__lt=max(begins) + LONGEST_DISPATCH,
    ).order_by("dispatch_id", "position")
    costs: dict[UUID, list[ToldAttempt]] = {}
    for row in rows.values("dispatch_id", "position", "role", "cost_nanos"):
        told = ToldAttempt(position=row["position"], model="", role=row["role"], cost_nanos=row["cost_nanos"])
        costs.setdefault(row["dispatch_id"], []).append(told)
    return {
        dispatch_id: wasted_nanos(told, answered_by=several[dispatch_id].answered_by)
        for dispatch_id, told in costs.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLine:
    """One attempt with what it was made at and where it lies on the time line."""

    attempt: Attempt
    model: str
    provider: str
    price: Price | None
    span: Span

    @property
    def told(self) -> ToldAttempt:
        """What the story needs of it."""
        attempt = self.attempt
        return ToldAttempt(
            position=attempt.position,
            model=self.model,
            role=attempt.role,
            state=attempt.state,
            fault=attempt.fault,
            wire_status=attempt.wire_status,
            validation=attempt.validation,
            cost_nanos=attempt.cost_nanos,
            start_offset_ms=attempt.start_offset_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchStory:
    """One dispatch: what was decided and why, what happened, and what it cost."""

    dispatch: Dispatch
    key_label: str
    reason: Reason
    attempts: tuple[AttemptLine, ...]
    ticks_ms: Sequence[int]
    reserved_nanos: int
    saved_nanos: int | None

    @property
    def outcome(self) -> tuple[str, ...]:
        """What became of the plan, where there is more to say than that its one attempt answered; nothing while one runs."""
        if any(line.attempt.state == AttemptState.OPEN for line in self.attempts):
            return ()
        return tell_story(
            [line.told for line in self.attempts],
            answered_by=self.dispatch.answered_by,
            validated=self.dispatch.validated,
            error_code=self.dispatch.error_code,
        )

    @property
    def wasted_nanos(self) -> int:
        """What went to attempts that did not give the answer."""
        return wasted_nanos([line.told for line in self.attempts], answered_by=self.dispatch.answered_by)

    @property
    def overhead_ms(self) -> int | None:
        """What Signalbox itself took, to the millisecond."""
        overhead_us = self.dispatch.overhead_us
        return None if overhead_us is None else round(overhead_us / 1000)

    @property
    def time_line(self) -> int:
        """The length that spans are thousandths of."""
        return TIME_LINE


def read_story(dispatch: Dispatch) -> DispatchStory:
    """Everything that the log, the prices and the policy's version know of a dispatch."""
    attempts = list(
        Attempt.objects.filter(dispatch_id=dispatch.id, dispatch_created_at=dispatch.created_at).order_by(
            "position"
        )
    )
    length_ms = _length_ms(dispatch, attempts)
    baseline = dispatch.baseline_cost_nanos
    return DispatchStory(
        dispatch=dispatch,
        key_label=key_label(dispatch.api_key_id),
        reason=read_reason(dispatch.reason, _document_of(dispatch)),
        attempts=tuple(_lines(attempts, length_ms)),
        ticks_ms=ticks_ms(length_ms),
        reserved_nanos=sum(attempt.reserved_nanos for attempt in attempts),
        saved_nanos=None if baseline is None else baseline - dispatch.cost_nanos,
    )


def _length_ms(dispatch: Dispatch, attempts: Sequence[Attempt]) -> int:
    ends = [attempt.start_offset_ms + (attempt.latency_ms or 0) for attempt in attempts]
    return max([dispatch.total_ms or 0, *ends, 1])


def _lines(attempts: Sequence[Attempt], length_ms: int) -> list[AttemptLine]:
    models = _names(Model.objects.filter(pk__in=[attempt.model_id for attempt in attempts]))
    providers = _names(Provider.objects.filter(pk__in=[attempt.provider_id for attempt in attempts]))
    prices = Price.objects.in_bulk([attempt.price_id for attempt in attempts])
    return [
        AttemptLine(
            attempt=attempt,
            model=models.get(attempt.model_id, f"Model {attempt.model_id}"),
            provider=providers.get(attempt.provider_id, f"Provider {attempt.provider_id}"),
            price=prices.get(attempt.price_id),
            span=span(
                start_ms=attempt.start_offset_ms,
                latency_ms=attempt.latency_ms,
                first_byte_ms=attempt.first_byte_ms,
                length_ms=length_ms,
            ),
        )
        for attempt in attempts
    ]


def _names(rows: "QuerySet[Model] | QuerySet[Provider]") -> Mapping[int, str]:
    return dict(rows.values_list("pk", "name"))


def _document_of(dispatch: Dispatch) -> Mapping[str, object] | None:
    if dispatch.policy_id is None:
        return None
    return (
        PolicyVersion.objects.filter(policy_id=dispatch.policy_id, number=dispatch.policy_version)
        .values_list("document", flat=True)
        .first()
    )
