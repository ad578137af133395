"""Which budgets and kill switches bear on a request. Runs on every request: a few microseconds, no I/O."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from dispatch_app.execution.ports import BudgetKey
from dispatch_app.execution.shrinking import Room, Rooms, no_rooms
from dispatch_app.snapshot.budget_usage import UsageKey
from dispatch_app.snapshot.types import ServedBudget, ServedKey, ServedKillSwitch, Snapshot
from policies_app.routing.codes import BudgetAction, BudgetPeriod, BudgetScope, KillScope
from policies_app.routing.periods import period_end, period_start
from policies_app.routing.types import BudgetPressure, FleetState, KilledTargets, Situation

FOREVER = datetime.max.replace(tzinfo=UTC)
NOTHING_KILLED = KilledTargets()
NOTHING_KNOWN = FleetState()


Period = tuple[datetime, datetime]
"""Its first instant, and the first after it."""


class Usage(Protocol):
    """What is known of the budgets' use; a plain dict will do."""

    def get(self, key: UsageKey, default: int, /) -> int: ...


def budget_keys(
    *, key: ServedKey, end_user: str, tags: Mapping[str, str], policy_id: int | None, now: datetime
) -> tuple[BudgetKey, ...]:
    """Return every budget that applies to a request, in its running period. `end_user` is empty when none was named."""
    zone = key.tenant.zone
    return tuple(
        BudgetKey(
            budget_id=budget.id,
            subject=subject,
            period_start=running_period_start(zone, budget, now),
        )
        for budget, subject in _applying(key, end_user, tags, policy_id)
    )


def situation_of(
    *,
    snapshot: Snapshot,
    budget_usage: Usage,
    key: ServedKey,
    end_user: str,
    tags: Mapping[str, str],
    policy_id: int | None,
    now: datetime,
    fleet: FleetState = NOTHING_KNOWN,
) -> Situation:
    """Return what changes from moment to moment and bears on this request: kill switches, budget pressure, the fleet."""
    zone = key.tenant.zone
    return Situation(
        killed=killed_targets(switches=snapshot.kill_switches, now=now),
        budgets=tuple(
            _pressure(budget, subject, budget_usage, running_period(zone, budget, now), now)
            for budget, subject in _applying(key, end_user, tags, policy_id)
        ),
        fleet=fleet,
    )


def rooms_of(
    *,
    budget_usage: Usage,
    key: ServedKey,
    end_user: str,
    tags: Mapping[str, str],
    policy_id: int | None,
    now: datetime,
) -> Rooms:
    """Return what tells, whenever it is asked, how much is left of the budgets that this request may be shrunk to."""
    zone = key.tenant.zone
    shrinking = [
        ((budget.id, subject, running_period_start(zone, budget, now)), budget.limit_at(now), least_tokens)
        for budget, subject in _applying(key, end_user, tags, policy_id)
        if (least_tokens := budget.shrink_to_tokens) is not None and budget.action is not BudgetAction.ALERT
    ]
    if not shrinking:
        return no_rooms
    return lambda: [
        Room(left_nanos=limit_nanos - budget_usage.get(usage_key, 0), least_output_tokens=least_tokens)
        for usage_key, limit_nanos, least_tokens in shrinking
    ]


def killed_targets(*, switches: tuple[ServedKillSwitch, ...], now: datetime) -> KilledTargets:
    """Return what the switches stop at `now`; those that have expired stop nothing."""
    if not switches:
        return NOTHING_KILLED
    global _killed  # noqa: PLW0603 — a memo of one entry: the same snapshot serves thousands of requests.
    memo = _killed
    if memo is None or memo.switches is not switches or not memo.since <= now < memo.until:
        memo = _killed = _killed_at(switches, now)
    return memo.targets


def cut_targets(*, switches: tuple[ServedKillSwitch, ...], now: datetime) -> KilledTargets:
    """Return what hard switches stop at `now`, answers in flight included."""
    hard = [switch for switch in _active(switches, now) if switch.hard]
    return _targets_of(hard) if hard else NOTHING_KILLED


def _applying(
    key: ServedKey, end_user: str, tags: Mapping[str, str], policy_id: int | None
) -> Iterator[tuple[ServedBudget, str]]:
    for budget in key.tenant.budgets:
        if budget.scope is not BudgetScope.END_USER:
            if _bears_on(budget, key, tags, policy_id):
                yield budget, ""
        elif end_user and not budget.end_user:
            yield budget, end_user
        elif end_user and budget.end_user == end_user:
            yield budget, ""


def _bears_on(budget: ServedBudget, key: ServedKey, tags: Mapping[str, str], policy_id: int | None) -> bool:
    """Whether a budget that does not look at the end user applies."""
    scope = budget.scope
    if scope is BudgetScope.TENANT:
        return True
    if scope is BudgetScope.API_KEY:
        return budget.api_key_id == key.id
    if scope is BudgetScope.POLICY:
        return policy_id is not None and budget.policy_id == policy_id
    return budget.tag is not None and tags.get(budget.tag[0]) == budget.tag[1]


def _pressure(
    budget: ServedBudget, subject: str, usage: Usage, period: Period, now: datetime
) -> BudgetPressure:
    return BudgetPressure(
        budget_id=budget.id,
        name=budget.name,
        scope=budget.scope,
        action=budget.action,
        used_nanos=usage.get((budget.id, subject, period[0]), 0),
        limit_nanos=budget.limit_at(now),
        steps=budget.steps,
        period_start=period[0],
        period_end=None if budget.period is BudgetPeriod.LIFETIME else period[1],
    )


# The calendar is dear (10 µs) and its answer lasts until the period ends. One entry a zone, period and first day of months.
_running_periods: dict[tuple[ZoneInfo, BudgetPeriod, int], Period] = {}


def running_period(zone: ZoneInfo, budget: ServedBudget, now: datetime) -> Period:
    """Return where the budget's period that holds `now` began and where the next one will, from memory while it lasts."""
    period, month_day = budget.period, budget.month_begins_on
    running = _running_periods.get((zone, period, month_day))
    if running is None or not running[0] <= now < running[1]:
        running = (
            period_start(period=period, now=now, zone=zone, month_day=month_day),
            period_end(period=period, now=now, zone=zone, month_day=month_day),
        )
        _running_periods[zone, period, month_day] = running
    return running


def running_period_start(zone: ZoneInfo, budget: ServedBudget, now: datetime) -> datetime:
    """Return where the budget's period that holds `now` began."""
    return running_period(zone, budget, now)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _KilledMemo:
    switches: tuple[ServedKillSwitch, ...]
    since: datetime
    until: datetime
    targets: KilledTargets


_killed: _KilledMemo | None = None


def _killed_at(switches: tuple[ServedKillSwitch, ...], now: datetime) -> _KilledMemo:
    active = _active(switches, now)
    return _KilledMemo(
        switches=switches,
        since=now,
        until=min((switch.expires_at for switch in active if switch.expires_at), default=FOREVER),
        targets=_targets_of(active),
    )


def _active(switches: tuple[ServedKillSwitch, ...], now: datetime) -> list[ServedKillSwitch]:
    return [switch for switch in switches if switch.expires_at is None or switch.expires_at > now]


def _targets_of(switches: list[ServedKillSwitch]) -> KilledTargets:
    def of(scope: KillScope) -> Iterator[ServedKillSwitch]:
        return (switch for switch in switches if switch.scope is scope)

    return KilledTargets(
        everything=any(of(KillScope.EVERYTHING)),
        providers=frozenset(switch.provider for switch in of(KillScope.PROVIDER)),
        models=frozenset(switch.model for switch in of(KillScope.MODEL)),
        policies=frozenset(switch.policy for switch in of(KillScope.POLICY)),
        rules=frozenset((switch.policy, switch.rule) for switch in of(KillScope.RULE)),
        tenants=frozenset(switch.tenant for switch in of(KillScope.TENANT)),
        api_keys=frozenset(switch.api_key for switch in of(KillScope.API_KEY)),
        end_users=frozenset((switch.tenant, switch.end_user) for switch in of(KillScope.END_USER)),
    )
