"""One breaker under any order of admissions, ends and passing time."""

from dataclasses import dataclass
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dispatch_app.execution.breaker import (
    EJECTION_BASE_S,
    EJECTION_DECAY_S,
    JITTER,
    MOST_COOLDOWN_S,
    MOST_EJECTION_S,
    PROBE_LEASE_S,
    Breaker,
)
from dispatch_app.execution.ports import TargetReport
from policies_app.routing.codes import FaultClass, HealthState
from policies_app.routing.types import Candidate
from tests.dispatch_app.routing_values import make_candidate

LONGEST_S = max(MOST_EJECTION_S, MOST_COOLDOWN_S) * (1 + JITTER)
BLOCKED = {HealthState.OPEN, HealthState.COOLING}


@dataclass
class InFlight:
    candidate: Candidate
    started_at: float
    is_probe: bool


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.breaker = Breaker(random=Random(7))
        self.in_flight: list[InFlight] = []

    @property
    def half_open_since(self) -> float:
        status = self.breaker.status(self.now)
        since = status.since if status.state is HealthState.HALF_OPEN else None
        return self.now if since is None else since

    @rule(seconds=st.sampled_from([0.01, 0.5, 1, 5, 6, 29, 31, 61, 301, 400]))
    def time_passes(self, seconds: float) -> None:
        until = self.breaker.status(self.now).until
        self.now += seconds
        if until is not None and self.now < until:
            assert self.breaker.status(self.now).until == until  # time alone changes nothing

    @rule(last_resort=st.booleans())
    def an_attempt_begins(self, last_resort: bool) -> None:
        state = self.breaker.state(self.now)
        candidate = make_candidate()
        admitted = self.breaker.admit(candidate, now=self.now)
        if state is HealthState.HEALTHY:
            assert admitted
        if state in BLOCKED:
            assert not admitted
        if admitted or last_resort:
            is_probe = admitted and state is HealthState.HALF_OPEN
            self.in_flight.append(InFlight(candidate, self.now, is_probe))

    @precondition(lambda self: self.in_flight)
    @rule(
        index=st.integers(0, 1_000),
        fault=st.none() | st.sampled_from(FaultClass),
        retry_after_s=st.none() | st.sampled_from([0, 1, 30, 300, 100_000]),
    )
    def an_attempt_ends(self, index: int, fault: FaultClass | None, retry_after_s: int | None) -> None:
        attempt = self.in_flight.pop(index % len(self.in_flight))
        before, half_open_since = self.breaker.status(self.now), self.half_open_since
        report = TargetReport(
            fault=fault,
            retry_after_s=retry_after_s,
            first_byte_ms=None,
            total_ms=round((self.now - attempt.started_at) * 1000),
            output_tokens=0,
        )

        self.breaker.note(report, asker=attempt.candidate, now=self.now)

        after = self.breaker.status(self.now)
        if fault is not None and before.until is not None:
            assert after.until is not None
            assert after.until >= before.until  # no failure, and no shorter cooldown, shortens what stands
        if fault is None and before.state is HealthState.HALF_OPEN and attempt.started_at >= half_open_since:
            assert after.state is HealthState.HEALTHY
        if fault is None and before.state in {HealthState.HEALTHY, HealthState.HALF_OPEN}:
            assert after.state is not HealthState.OPEN

    @invariant()
    def blocks_are_bounded(self) -> None:
        until = self.breaker.status(self.now).until
        assert until is None or 0 < until - self.now <= LONGEST_S

    @invariant()
    def ejections_are_bounded(self) -> None:
        assert 0 <= self.breaker.ejections(self.now) <= MOST_EJECTION_S / EJECTION_BASE_S

    @invariant()
    def at_most_one_probe_is_under_way(self) -> None:
        probes = [
            attempt
            for attempt in self.in_flight
            if attempt.is_probe
            and attempt.started_at >= self.half_open_since
            and self.now < attempt.started_at + PROBE_LEASE_S
        ]
        assert len(probes) <= 1

    def teardown(self) -> None:
        """Whatever has happened, it heals: after the longest wait and one answer, and its record becomes clean."""
        self.now += LONGEST_S + PROBE_LEASE_S
        candidate = make_candidate()
        assert self.breaker.admit(candidate, now=self.now)
        report = TargetReport(fault=None, retry_after_s=None, first_byte_ms=1, total_ms=1, output_tokens=1)
        self.now += 1
        self.breaker.note(report, asker=candidate, now=self.now)
        assert self.breaker.state(self.now) is HealthState.HEALTHY
        self.now += EJECTION_DECAY_S * MOST_EJECTION_S / EJECTION_BASE_S
        assert self.breaker.ejections(self.now) == 0


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
