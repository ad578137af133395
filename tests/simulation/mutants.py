"""Bugs that are planted to see whether the simulation finds them. Each replaces one thing while its context lasts."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from msgspec import structs

from dispatch_app.execution.attempt import RunningAttempt
from dispatch_app.execution.attempts import Attempts
from dispatch_app.execution.calls import Calls
from dispatch_app.execution.canonical import StreamPart
from dispatch_app.execution.envelope import Envelope
from dispatch_app.execution.errors import DeadlineExceededError, SupersededError, UpstreamError
from dispatch_app.execution.forwarding import Delivered, Forwarding
from dispatch_app.execution.onward import Onward
from dispatch_app.execution.ports import Settlement, Target, UpstreamCall
from dispatch_app.execution.postings import Postings
from dispatch_app.execution.targets import Targets, _Entry
from dispatch_app.ledger.ledger import ADMITTED, PostgresLedger
from dispatch_app.ledger.wire import BeginItem
from policies_app.routing.codes import AttemptRole, BudgetAction
from tests.simulation.accounts import Accounts, AttemptRow, Balance, Begin
from tests.simulation.simulation import simulate

MOST_SEEDS = 600
"""Within so many seeds a planted bug is found."""
FIRST_SEEDS = {"what comes whole is charged by what was seen": 9_000}
"""Where to begin with a bug that is rarer than that; the others from 0."""


def seeds_until_found(name: str) -> int | None:
    """How many seeds it takes to find a mutant; None if it is not found."""
    first = FIRST_SEEDS.get(name, 0)
    with MUTANTS[name]():
        for number in range(MOST_SEEDS):
            if simulate(first + number).problem:
                return number + 1
    return None


def _replacing(target: object, attribute: str, replacement: object) -> Callable[[], Any]:
    return lambda: patch.object(target, attribute, replacement)


def _is_always_open(self: Accounts, row: AttemptRow) -> bool:
    return True


def _remaining_without_reservations(self: Accounts, balance: Balance | None) -> int | None:
    if balance is None or balance.granted_nanos is None:
        return None
    budget = self.budgets[balance.key.budget_id]
    if budget.action is BudgetAction.ALERT:
        return None
    return min(balance.granted_nanos, budget.limit_nanos) - balance.settled_nanos


_expiry = Accounts._expiry


def _expiry_for_free(self: Accounts, row: AttemptRow, at: Any) -> Settlement:
    return structs.replace(_expiry(self, row, at), cost_nanos=0)


_verdict = Accounts._verdict


def _verdict_without_switches(self: Accounts, item: Begin, *args: Any, **options: Any) -> Any:
    switches, self.switches = self.switches, []
    try:
        return _verdict(self, item, *args, **options)
    finally:
        self.switches = switches


async def _begin_after_sending(self: PostgresLedger, *, dispatch: Any, attempt: Any, budgets: Any) -> Any:
    self._begins.submit(BeginItem(dispatch=dispatch, attempt=attempt, budgets=budgets)).add_done_callback(
        _ignore
    )
    await asyncio.sleep(0)
    return ADMITTED


async def _settle_without_waiting(self: PostgresLedger, *, settlement: Settlement) -> bool:
    self._settles.submit(settlement).add_done_callback(_ignore)
    return True


def _ignore(answer: "asyncio.Future[Any]") -> None:
    if not answer.cancelled():
        answer.exception()


def _take_without_counting(self: Envelope, bound_nanos: int) -> bool:
    if self.remaining_s <= 0 or not self.covers(bound_nanos):
        return False
    self._move(-bound_nanos)
    return True


def _remaining_to_the_last_moment(self: Envelope) -> float:
    return max(0.0, self.deadline_at - self._clock.monotonic())


_call = RunningAttempt.call


def _call_with_more_time(attempt: RunningAttempt, *, stream: bool) -> UpstreamCall:
    call = _call(attempt, stream=stream)
    return replace(call, deadline_at=call.deadline_at + 5.0)


@contextmanager
def _requests_mixed_up() -> Iterator[None]:
    """Now and then somebody else's request is sent."""
    latest: list[UpstreamCall] = []

    def mixed(attempt: RunningAttempt, *, stream: bool) -> UpstreamCall:
        call = _call(attempt, stream=stream)
        latest.append(call)
        return replace(call, request=latest[0].request) if len(latest) % 7 == 0 else call

    with patch.object(RunningAttempt, "call", mixed):
        yield


_post = Postings._post


async def _post_twice(self: Postings, waiting: Any, **options: Any) -> None:
    await _post(self, waiting, **options)
    await _post(self, waiting, **options)


_forward = Forwarding._forward


async def _forward_late_again(self: Forwarding, part: StreamPart) -> None:
    await _forward(self, part)
    asyncio.get_running_loop().call_later(0.5, self._sink.offer, part)


def _take_only_admitted(self: Targets) -> Target | None:
    for entry, target in self._untried(self._waiting):
        if self._health.admits(target):
            return self._give(entry, target, self._waiting)
    return None


_give = Targets._give


def _give_without_noting(self: Targets, entry: Any, target: Target, source: Any) -> Target:
    given = _give(self, entry, target, source)
    entry.tried.clear()
    return given


def _fail_and_rotate(self: Attempts, attempt: Any, error: UpstreamError, **options: Any) -> None:
    _fail(self, attempt, error, **options)
    self.targets.rotate(attempt.target)


_fail = Attempts.fail


_next = Onward.next


async def _ask_the_first_for_ever(self: Onward) -> Any:
    turn = await _next(self)
    if turn is not None and turn.role is AttemptRole.PRIMARY:
        self._attempts.targets._waiting.append(_Entry(candidate=turn.target.candidate))
    return turn


_whole = Calls._whole


async def _whole_as_if_seen(self: Calls, attempt: RunningAttempt) -> Any:
    try:
        return await _whole(self, attempt)
    finally:
        attempt.comes_whole = False


async def _wait_for_ever(self: Any, *args: Any, **options: Any) -> None:
    await asyncio.get_running_loop().create_future()


MUTANTS: Mapping[str, Callable[[], Any]] = {
    "settling is not idempotent": _replacing(Accounts, "_is_open", _is_always_open),
    "the sweep frees what it should charge": _replacing(Accounts, "_expiry", _expiry_for_free),
    "reservations do not count": _replacing(Accounts, "_remaining_nanos", _remaining_without_reservations),
    "kill switches are not read": _replacing(Accounts, "_verdict", _verdict_without_switches),
    "begin is committed after the send": _replacing(PostgresLedger, "begin", _begin_after_sending),
    "acknowledged before the settlement": _replacing(PostgresLedger, "settle", _settle_without_waiting),
    "the bound on attempts is ignored": _replacing(Envelope, "take", _take_without_counting),
    "the bound on money is ignored": _replacing(Envelope, "covers", lambda self, bound_nanos: True),
    "a timer that wakes before the deadline begins another attempt": _replacing(
        Envelope, "remaining_s", property(_remaining_to_the_last_moment)
    ),
    "vendors get more time than there is": _replacing(RunningAttempt, "call", _call_with_more_time),
    "requests are mixed up": _requests_mixed_up,
    "attempts are settled twice": _replacing(Postings, "_post", _post_twice),
    "a part is sent after the end": _replacing(Forwarding, "_forward", _forward_late_again),
    "fails over after the first byte": _replacing(Delivered, "add", lambda self, part: None),
    "losers are free": _replacing(SupersededError, "is_billable", False),
    "timeouts are free": _replacing(DeadlineExceededError, "is_billable", False),
    "what comes whole is charged by what was seen": _replacing(Calls, "_whole", _whole_as_if_seen),
    "the last answer is never heard": _replacing(Postings, "end", _wait_for_ever),
    "a credential is tried twice": _replacing(Targets, "_give", _give_without_noting),
    "every fault is a credential's": _replacing(Attempts, "fail", _fail_and_rotate),
    "all targets can be ejected": _replacing(Targets, "take", _take_only_admitted),
    "a target is asked again as if it were another": _replacing(Onward, "next", _ask_the_first_for_ever),
}
