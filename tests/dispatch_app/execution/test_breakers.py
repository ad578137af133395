"""The breakers of one process: which breaker a call goes by, and what decisions and other processes get to see."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import msgspec
import pytest

from dispatch_app.execution.breaker import JITTER, MOST_COOLDOWN_S, Cause
from dispatch_app.execution.breakers import Breakers, SharedBlock, TargetKey, TargetState
from dispatch_app.execution.ports import Credential, Target, TargetReport
from policies_app.routing.codes import FaultClass, HealthState
from tests.dispatch_app.execution.manual_clock import ManualClock
from tests.dispatch_app.routing_values import make_candidate


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breakers(clock: ManualClock) -> Breakers:
    return Breakers(clock=clock, random=Random(1))


def target_of(name: str, *, number: int, provider: str = "vendor") -> Target:
    candidate = make_candidate(name, number=number)
    return Target(
        candidate=msgspec.structs.replace(candidate, model=replace(candidate.model, provider=provider))
    )


SMALL = target_of("small", number=1)
LARGE = target_of("large", number=2)
OTHER = target_of("other", number=3, provider="elsewhere")


def with_credential(target: Target, name: str) -> Target:
    return replace(target, credential=Credential(id=1, name=name))


def ends(
    breakers: Breakers,
    target: Target,
    fault: FaultClass | None = None,
    *,
    times: int = 1,
    retry_after_s: int | None = None,
) -> None:
    report = TargetReport(
        fault=fault, retry_after_s=retry_after_s, first_byte_ms=None, total_ms=0, output_tokens=0
    )
    for _ in range(times):
        breakers.report(target, report)


def state_of(breakers: Breakers, model: str) -> TargetState:
    [state] = [state for state in breakers.states() if state.model == model]
    return state


def test_each_target_has_a_breaker_of_its_own(breakers: Breakers) -> None:
    ends(breakers, SMALL, FaultClass.SERVER_ERROR, times=5)

    assert not breakers.admits(SMALL)
    assert breakers.admits(LARGE)


def test_credentials_and_regions_are_targets_of_their_own(clock: ManualClock) -> None:
    breakers = Breakers(clock=clock, random=Random(1))
    first, second = with_credential(SMALL, "first"), with_credential(SMALL, "second")
    ends(breakers, first, FaultClass.CREDENTIAL_REFUSED)
    assert not breakers.admits(first)
    assert breakers.fleet_health()[0]["small"].state is HealthState.OPEN

    assert breakers.admits(second)
    # Somebody can still be asked for the model.
    assert "small" not in breakers.fleet_health()[0]


def test_decisions_see_the_models_that_are_not_healthy(breakers: Breakers, clock: ManualClock) -> None:
    ends(breakers, SMALL, FaultClass.RATE_LIMITED, retry_after_s=8)
    ends(breakers, LARGE)

    targets, _ = breakers.fleet_health()

    assert list(targets) == ["small"]
    assert targets["small"].state is HealthState.COOLING
    until = targets["small"].until
    assert until is not None
    assert timedelta(seconds=8) <= until - clock.now() <= timedelta(seconds=8.8)
    assert targets["small"].badness == breakers.badness(SMALL)


def test_the_view_is_the_same_value_until_something_changes(breakers: Breakers, clock: ManualClock) -> None:
    ends(breakers, SMALL, FaultClass.SERVER_ERROR, times=5)
    view, changes = breakers.fleet_health(), breakers.changes

    for _ in range(30):
        clock.at += 0.1
        ends(breakers, LARGE)
        assert breakers.fleet_health() is view
    assert breakers.changes == changes

    clock.at += 3
    assert breakers.changes > changes
    assert breakers.fleet_health()[0]["small"].state is HealthState.HALF_OPEN


def test_every_change_is_seen_at_once(breakers: Breakers) -> None:
    changes = breakers.changes
    for fault in (FaultClass.CREDENTIAL_REFUSED, None):
        ends(breakers, SMALL, fault)
        assert breakers.changes == changes + 1
        changes += 1


def test_a_provider_is_degraded_when_half_of_what_is_called_of_it_is_ejected(breakers: Breakers) -> None:
    third = target_of("third", number=4)
    for target in (SMALL, LARGE, third, OTHER):
        ends(breakers, target)

    ends(breakers, SMALL, FaultClass.SERVER_ERROR, times=5)
    assert breakers.fleet_health()[1] == frozenset()

    ends(breakers, LARGE, FaultClass.QUOTA_EXHAUSTED)
    assert breakers.fleet_health()[1] == {"vendor"}


def test_rate_limits_degrade_no_provider(breakers: Breakers) -> None:
    ends(breakers, OTHER, FaultClass.RATE_LIMITED, retry_after_s=100)

    assert breakers.fleet_health()[1] == frozenset()


def test_what_nobody_calls_any_more_does_not_hide_what_fails(breakers: Breakers, clock: ManualClock) -> None:
    ends(breakers, target_of("old-a", number=8))
    ends(breakers, target_of("old-b", number=9))
    clock.at += 301

    ends(breakers, SMALL, FaultClass.SERVER_ERROR, times=5)

    assert breakers.fleet_health()[1] == {"vendor"}


def block(target: Target, *, cause: Cause = Cause.QUOTA, remaining_s: float = 100.0) -> SharedBlock:
    model = target.model
    return SharedBlock(
        key=TargetKey(provider_id=model.provider_id, credential="", model_id=model.id, region=""),
        model=model.name,
        provider=model.provider,
        cause=cause,
        remaining_s=remaining_s,
    )


def test_what_one_process_shares_the_others_learn(clock: ManualClock) -> None:
    first, second = (Breakers(clock=clock, random=Random(seed)) for seed in (1, 2))
    ends(first, SMALL, FaultClass.RATE_LIMITED, retry_after_s=60)
    ends(first, LARGE, FaultClass.SERVER_ERROR, times=5)

    shared = [state.to_share for state in first.states() if state.to_share is not None]
    second.learn(shared)

    assert [told.model for told in shared] == ["small"]
    assert not second.admits(SMALL)
    assert second.admits(LARGE)
    assert second.fleet_health()[0]["small"].state is HealthState.COOLING
    assert all(state.to_share is None for state in second.states())


def test_learning_replaces_what_was_told_before(breakers: Breakers) -> None:
    breakers.learn([block(SMALL), block(LARGE)])
    breakers.learn([block(LARGE)])

    assert breakers.admits(SMALL)
    assert not breakers.admits(LARGE)


def test_nobody_can_be_told_to_wait_for_ever(breakers: Breakers, clock: ManualClock) -> None:
    breakers.learn([block(SMALL, remaining_s=1e9)])

    until = breakers.fleet_health()[0]["small"].until
    assert until is not None
    assert until - clock.now() <= timedelta(seconds=MOST_COOLDOWN_S * (1 + JITTER))


def test_states_say_when_and_why(breakers: Breakers, clock: ManualClock) -> None:
    ends(breakers, SMALL, times=3)
    clock.at += 5
    ends(breakers, SMALL, FaultClass.INVALID_REPLY, times=5)

    state = state_of(breakers, "small")

    assert state.provider == "vendor"
    clock.at += 2
    state = state_of(breakers, "small")
    assert state.age_s == 2.0
    assert state.remaining_s is not None
    assert 3.0 <= state.remaining_s <= 3.5
    assert state.provider_is_degraded
    assert state.status.last_fault is FaultClass.INVALID_REPLY
    assert state.status.consecutive_failures == 5
    assert (state.status.calls, state.status.failures) == (8, 5)
    assert (state.calls, state.failures) == (8, 5)


def test_traffic_is_that_of_the_last_five_minutes(breakers: Breakers, clock: ManualClock) -> None:
    ends(breakers, SMALL, times=10)
    clock.at += 290
    ends(breakers, SMALL, FaultClass.RATE_LIMITED, retry_after_s=1)
    ends(breakers, SMALL, FaultClass.BAD_REQUEST)
    ends(breakers, SMALL, FaultClass.SUPERSEDED)  # admitted, and then not called after all
    state = state_of(breakers, "small")
    assert (state.calls, state.failures) == (12, 1)

    clock.at += 10
    state = state_of(breakers, "small")
    assert (state.calls, state.failures) == (2, 1)


def test_targets_that_nobody_calls_are_forgotten(breakers: Breakers, clock: ManualClock) -> None:
    ends(breakers, SMALL)
    clock.at += 600
    ends(breakers, LARGE)
    clock.at += 301

    assert [state.model for state in breakers.states()] == ["large"]


def test_the_same_seed_gives_the_same_times(clock: ManualClock) -> None:
    def run() -> list[float | None]:
        breakers = Breakers(clock=clock, random=Random(42))
        ends(breakers, SMALL, FaultClass.SERVER_ERROR, times=5)
        ends(breakers, LARGE, FaultClass.RATE_LIMITED)
        return [state.remaining_s for state in breakers.states()]

    assert run() == run()


class Replaceable:
    """A roster in which every target has the credential that is valid now, and small another one beside it."""

    def __init__(self, *, spare: str = "") -> None:
        self.credential = "old"
        self.spare = spare

    @property
    def version(self) -> object:
        return self.credential

    def has(self, key: TargetKey, *, model: str) -> bool:
        return key.credential in {self.credential, self.spare}

    def targets_of(self, model: str) -> list[TargetKey]:
        names = [name for name in (self.credential, self.spare) if name]
        return [
            TargetKey(provider_id=1, credential=name, model_id=SMALL.model.id, region="") for name in names
        ]


def test_a_new_credential_is_not_to_blame_for_the_old_one(clock: ManualClock) -> None:
    roster = Replaceable()

    breakers = Breakers(clock=clock, random=Random(1), roster=roster)
    ends(breakers, with_credential(SMALL, "old"), FaultClass.CREDENTIAL_REFUSED)
    assert set(breakers.fleet_health()[0]) == {"small"}

    roster.credential = "new"

    assert breakers.fleet_health() == ({}, frozenset())
    assert breakers.admits(with_credential(SMALL, "new"))


def test_a_model_whose_credential_is_refused_takes_traffic_with_one_that_was_never_called(
    clock: ManualClock,
) -> None:
    breakers = Breakers(clock=clock, random=Random(1), roster=Replaceable(spare="spare"))

    ends(breakers, with_credential(SMALL, "old"), FaultClass.CREDENTIAL_REFUSED)
    assert breakers.fleet_health() == ({}, frozenset())

    ends(breakers, with_credential(SMALL, "spare"), FaultClass.QUOTA_EXHAUSTED)
    targets, degraded = breakers.fleet_health()
    assert targets["small"].state is HealthState.COOLING
    assert degraded == {"vendor"}


def test_what_one_credential_cannot_do_says_nothing_of_the_provider(breakers: Breakers) -> None:
    for target in (SMALL, LARGE):
        ends(breakers, with_credential(target, "first"), FaultClass.CREDENTIAL_REFUSED)
        ends(breakers, with_credential(target, "second"))

    assert breakers.fleet_health() == ({}, frozenset())


def test_a_rate_limit_cools_one_credential_alone(breakers: Breakers, clock: ManualClock) -> None:
    first, second = with_credential(SMALL, "first"), with_credential(SMALL, "second")

    ends(breakers, first, FaultClass.RATE_LIMITED, retry_after_s=8)
    assert not breakers.admits(first)
    assert breakers.admits(second)

    clock.at += 9
    assert breakers.admits(first)


def test_a_probe_is_known_whatever_became_of_its_candidate(breakers: Breakers, clock: ManualClock) -> None:
    ends(breakers, SMALL, FaultClass.SERVER_ERROR, times=5)
    clock.at += 6
    probe = replace(SMALL, asker=object())
    assert breakers.admits(probe)
    assert not breakers.admits(replace(SMALL, asker=object()))

    shrunk = replace(probe, candidate=msgspec.structs.replace(probe.candidate, output_tokens_limit=1))
    ends(breakers, shrunk, FaultClass.SUPERSEDED)

    assert breakers.admits(replace(SMALL, asker=object()))
