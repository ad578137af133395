"""One target's circuit breaker and its cooldown. Pure: time comes in with every call, chance with the constructor.

::

                    5 failures in a row, or half of 10 in 30 s; a refused credential
        HEALTHY ────────────────────────────────────────────────────────────────────▶ OPEN
           ▲  ▲                                                                        │ 5 s, each time 5 s longer, at most 5 min
           │  └──────────────── one attempt answers ──── HALF_OPEN ◀───────────────────┤
           │                                                 └── one attempt fails ────┘
           └──── the time is up ──── COOLING ◀──── 429 (for want of credit: on to HALF_OPEN)

What never reached the vendor and what the vendor did wrong are counted apart, and either alone can open the breaker.
What callers did wrong, or broke off, counts as nothing. An attempt that began before its target was ejected says nothing
of how the target fares since.
"""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from dispatch_app.execution.outcomes import Outcomes
from dispatch_app.execution.ports import TargetReport
from policies_app.routing.codes import FaultClass, HealthState

WINDOW_S = 30
LEAST_CALLS = 10
FAILURE_RATE = 0.5
CONSECUTIVE_FAILURES = 5

EJECTION_BASE_S = 5.0
CREDENTIAL_EJECTION_BASE_S = 60.0
"""A refused credential seldom heals by itself."""
MOST_EJECTION_S = 300.0
EJECTION_DECAY_S = 30.0
"""For each such time without an ejection, the next one is a base shorter."""

COOLDOWN_BASE_S = 1.0
"""After a 429 that does not say when to come back; doubles with each further one."""
MOST_COOLDOWN_S = 300.0
QUOTA_COOLDOWN_S = 300.0

JITTER = 0.1
"""Ejections and cooldowns last up to this share longer, so that processes do not come back at one instant."""
LONG_COOLDOWN_S = 10.0
"""Rate limits that last longer than this are worth telling other processes."""
TOLD_GRAIN_S = 1.0
"""What is told again comes with the time that the telling takes: a smaller difference is none."""
ATTENTION_BADNESS = 1e9
PROBE_LEASE_S = 60.0
"""A probe whose end nobody reported is given up after this time."""
SILENCE_TO_BLAME_MS = 10_000
"""An attempt whose deadline passed speaks against its target only if the target said nothing for this long."""
_CLOCK_GRAIN_S = 0.001


class Cause(StrEnum):
    """Why a target is ejected or cooling."""

    FAILURES = "failures"
    CREDENTIAL = "credential"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"

    @property
    def needs_attention(self) -> bool:
        """Whether somebody has to do something about it: it does not pass by itself."""
        return self in {Cause.CREDENTIAL, Cause.QUOTA}

    @property
    def state(self) -> HealthState:
        """How a target fares for this cause."""
        return HealthState.OPEN if self in {Cause.FAILURES, Cause.CREDENTIAL} else HealthState.COOLING


class Effect(StrEnum):
    """What an attempt's end says of its target."""

    ANSWERED = "answered"
    UNREACHED = "unreached"
    FAILED = "failed"
    RATE_LIMITED = "rate_limited"
    OUT_OF_CREDIT = "out_of_credit"
    CREDENTIAL_REFUSED = "credential_refused"
    NOTHING = "nothing"

    @property
    def is_failure(self) -> bool:
        """Whether somebody who wanted an answer got none, by the target's doing."""
        return self not in {Effect.ANSWERED, Effect.NOTHING}


_EFFECTS = {
    FaultClass.UNREACHABLE: Effect.UNREACHED,
    FaultClass.RATE_LIMITED: Effect.RATE_LIMITED,
    FaultClass.QUOTA_EXHAUSTED: Effect.OUT_OF_CREDIT,
    FaultClass.CREDENTIAL_REFUSED: Effect.CREDENTIAL_REFUSED,
    FaultClass.SERVER_ERROR: Effect.FAILED,
    FaultClass.FIRST_BYTE_TIMEOUT: Effect.FAILED,
    FaultClass.IDLE_TIMEOUT: Effect.FAILED,
    FaultClass.TRUNCATED: Effect.FAILED,
    FaultClass.STREAM_ERROR: Effect.FAILED,
    FaultClass.INVALID_REPLY: Effect.FAILED,
    FaultClass.REDIRECTED: Effect.FAILED,
    # The caller's own doing, or ours.
    FaultClass.BAD_REQUEST: Effect.NOTHING,
    FaultClass.CLIENT_DISCONNECTED: Effect.NOTHING,
    FaultClass.SUPERSEDED: Effect.NOTHING,
    FaultClass.KILLED: Effect.NOTHING,
    FaultClass.SHUT_DOWN: Effect.NOTHING,
    FaultClass.EXPIRED: Effect.NOTHING,
}


def effect_of(report: TargetReport) -> Effect:
    """What `report` says of its target."""
    if report.fault is None:
        return Effect.ANSWERED
    if report.fault is FaultClass.DEADLINE_EXCEEDED:
        return Effect.FAILED if _was_silent(report) else Effect.NOTHING
    return _EFFECTS[report.fault]


def _was_silent(report: TargetReport) -> bool:
    return report.first_byte_ms is None and report.total_ms >= SILENCE_TO_BLAME_MS


def _are_bad(outcomes: Outcomes, now: float) -> bool:
    calls, failures = outcomes.count(now)
    return outcomes.consecutive_failures >= CONSECUTIVE_FAILURES or (
        calls >= LEAST_CALLS and failures >= FAILURE_RATE * calls
    )


@dataclass(slots=True, kw_only=True)
class _Block:
    """A time during which the target is not to be called. It only ever grows, until it is lifted."""

    cause: Cause = Cause.FAILURES
    since: float = float("-inf")
    until: float = float("-inf")

    def extend(self, *, cause: Cause, now: float, until: float) -> None:
        """Last until then, or as long as before. What somebody has to do something about stays in sight."""
        if now >= self.until:
            self.since, self.until, self.cause = now, until, cause
            return
        if cause.needs_attention or (until > self.until and not self.cause.needs_attention):
            self.cause = cause
        self.until = max(self.until, until)

    def lift(self, now: float) -> None:
        self.until = min(self.until, now)

    @property
    def is_for_all(self) -> bool:
        is_long = self.cause is Cause.RATE_LIMIT and self.until - self.since > LONG_COOLDOWN_S
        return is_long or self.cause.needs_attention


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStatus:
    """A breaker at a moment. Times are on the clock that it is given.

    `until` is when it leaves its state by itself, None if it does not. `is_learned` says that another process told it.
    """

    state: HealthState
    cause: Cause | None
    since: float | None
    until: float | None
    is_learned: bool
    is_being_probed: bool
    consecutive_failures: int
    calls: int
    failures: int
    last_fault: FaultClass | None
    last_wire_status: int | None


class Breaker:
    """Says whether its target may be called, and learns from how attempts end."""

    def __init__(self, *, random: Random) -> None:
        self._random = random
        self._local = Outcomes(window_s=WINDOW_S)
        self._upstream = Outcomes(window_s=WINDOW_S)
        self._ejection = _Block()
        self._cooldown = _Block(cause=Cause.RATE_LIMIT)
        self._learned = _Block(cause=Cause.RATE_LIMIT)
        self._must_prove_itself = False
        self._set_aside_at = float("-inf")
        self._ejections = 0
        self._limits_in_a_row = 0
        self._healthy_since: float | None = None
        self._probe: object | None = None
        self._probe_until = float("-inf")
        self.last_fault: FaultClass | None = None
        self.last_wire_status: int | None = None
        self.last_report_at = float("-inf")
        self.turns = 0
        """How often what `state` says was changed by something else than time."""

    def state(self, now: float) -> HealthState:
        """How the target fares at `now`."""
        block = self._latest_block(now)
        if block is not None:
            return block.cause.state
        return HealthState.HALF_OPEN if self._must_prove_itself else HealthState.HEALTHY

    def admit(self, asker: object, *, now: float) -> bool:
        """Whether an attempt may be made. Of a half-open target, one at a time: the probe.

        The probe is known again by its asker being this very object.
        """
        state = self.state(now)
        if state is HealthState.HALF_OPEN and not self._is_being_probed(now):
            self._probe, self._probe_until = asker, now + PROBE_LEASE_S
            return True
        return state is HealthState.HEALTHY

    def note(self, report: TargetReport, *, asker: object, now: float) -> None:
        """Learn from how an attempt ended."""
        is_probe = self._probe is asker
        if is_probe:
            self._probe = None
        self.last_report_at = now
        effect = effect_of(report)
        if effect is Effect.NOTHING:
            return
        if report.fault is not None:
            self.last_fault, self.last_wire_status = report.fault, report.wire_status
        started_at = now - report.total_ms / 1000 + _CLOCK_GRAIN_S
        if effect is Effect.RATE_LIMITED:
            self._cool(report.retry_after_s, started_at=started_at, now=now)
        elif effect is Effect.OUT_OF_CREDIT:
            self._run_out_of_credit(started_at=started_at, now=now)
        elif effect is Effect.CREDENTIAL_REFUSED:
            self._refuse_credential(started_at=started_at, now=now)
        elif self._must_prove_itself:
            if is_probe or started_at >= self._set_aside_at:
                self._judge(effect, now)
        else:
            self._count(effect, started_at=started_at, now=now)

    def learn(self, *, cause: Cause, now: float, until: float) -> None:
        """Take over from another process that the target is not to be called until then."""
        if now < self._learned.until and abs(until - self._learned.until) < TOLD_GRAIN_S:
            return
        self._learned.extend(cause=cause, now=now, until=until)
        self.turns += 1

    def unlearn(self, now: float) -> None:
        """No other process says any more that the target is not to be called."""
        if now < self._learned.until:
            self._learned.lift(now)
            self.turns += 1

    def to_share(self, now: float) -> tuple[Cause, float] | None:
        """What other processes are to know too, and until when: a long cooldown, or what needs attention.

        Failures are not shared: another process may reach what this one cannot.
        """
        own = [block for block in (self._ejection, self._cooldown) if now < block.until and block.is_for_all]
        latest = max(own, key=lambda block: block.until, default=None)
        return None if latest is None else (latest.cause, latest.until)

    def badness(self) -> float:
        """Orders targets that do not take traffic: what may be tried again sooner is less bad, and may be in the past.

        Worst is what does not pass by itself. Stays the same until the target's state turns.
        """
        blocks = (self._ejection, self._cooldown, self._learned)
        latest = max(blocks, key=lambda block: block.until)
        return latest.until + (ATTENTION_BADNESS if latest.cause.needs_attention else 0.0)

    def status(self, now: float) -> BreakerStatus:
        """Everything that there is to see at `now`."""
        block = self._latest_block(now)
        state = self.state(now)
        calls, unreached = self._local.count(now)
        _, failed = self._upstream.count(now)
        return BreakerStatus(
            state=state,
            cause=self._cause(block),
            since=self._since(block),
            until=None if block is None else block.until,
            is_learned=block is self._learned,
            is_being_probed=state is HealthState.HALF_OPEN and self._is_being_probed(now),
            consecutive_failures=max(self._local.consecutive_failures, self._upstream.consecutive_failures),
            calls=calls,
            failures=unreached + failed,
            last_fault=self.last_fault,
            last_wire_status=self.last_wire_status,
        )

    def ejections(self, now: float) -> int:
        """How many ejections are held against the target; they are forgotten one by one while it is healthy."""
        if self._healthy_since is None:
            return self._ejections
        return max(0, self._ejections - int((now - self._healthy_since) / EJECTION_DECAY_S))

    def _began_before_healing(self, started_at: float) -> bool:
        return self._healthy_since is not None and started_at < self._healthy_since

    def _latest_block(self, now: float) -> _Block | None:
        """The block that ends last of those that hold."""
        latest = max((self._ejection, self._cooldown, self._learned), key=lambda block: block.until)
        return latest if now < latest.until else None

    def _is_being_probed(self, now: float) -> bool:
        return self._probe is not None and now < self._probe_until

    def _cause(self, block: _Block | None) -> Cause | None:
        if block is not None:
            return block.cause
        if not self._must_prove_itself:
            return None
        return max(self._ejection, self._cooldown, key=lambda known: known.until).cause

    def _since(self, block: _Block | None) -> float | None:
        if block is not None:
            return block.since
        ended = [known.until for known in (self._ejection, self._cooldown, self._learned)]
        if self._healthy_since is not None:
            ended.append(self._healthy_since)
        since = max(ended)
        return None if since == float("-inf") else since

    def _count(self, effect: Effect, *, started_at: float, now: float) -> None:
        """Count an attempt on a target that takes traffic."""
        if self._began_before_healing(started_at):
            return
        self._add(effect, now)
        if effect is Effect.ANSWERED:
            if started_at >= self._cooldown.since:
                self._limits_in_a_row = 0
        elif _are_bad(self._local, now) or _are_bad(self._upstream, now):
            self._eject(cause=Cause.FAILURES, base_s=EJECTION_BASE_S, now=now)

    def _judge(self, effect: Effect, now: float) -> None:
        """Decide on a target that has to prove itself, by an attempt made since. While it is ejected, it stays so."""
        if effect is Effect.ANSWERED:
            self._heal(now)
            return
        self._add(effect, now)
        if self.state(now) is HealthState.HALF_OPEN:
            self._eject(cause=Cause.FAILURES, base_s=EJECTION_BASE_S, now=now)

    def _add(self, effect: Effect, now: float) -> None:
        """What was reached at all speaks for the way there, whatever the vendor made of it."""
        self._local.add(now=now, failed=effect is Effect.UNREACHED)
        if effect is not Effect.UNREACHED:
            self._upstream.add(now=now, failed=effect is Effect.FAILED)

    def _heal(self, now: float) -> None:
        """Take the target back. A rate limit still holds: its vendor said so."""
        self._local = Outcomes(window_s=WINDOW_S)
        self._upstream = Outcomes(window_s=WINDOW_S)
        self._must_prove_itself = False
        self._ejection.lift(now)
        if self._cooldown.cause is Cause.QUOTA:
            self._cooldown = _Block(cause=Cause.RATE_LIMIT)
        self._limits_in_a_row = 0
        self._healthy_since = now
        self._probe = None
        self.turns += 1

    def _refuse_credential(self, *, started_at: float, now: float) -> None:
        """Open at once. What else comes back refused while it is open is the same news."""
        is_known = self._ejection.cause is Cause.CREDENTIAL and now < self._ejection.until
        if not is_known and not self._began_before_healing(started_at):
            self._eject(cause=Cause.CREDENTIAL, base_s=CREDENTIAL_EJECTION_BASE_S, now=now)

    def _eject(self, *, cause: Cause, base_s: float, now: float) -> None:
        self._set_aside(now)
        self._ejections = min(self._ejections + 1, int(MOST_EJECTION_S / EJECTION_BASE_S))
        duration_s = self._jittered(min(base_s * self._ejections, MOST_EJECTION_S))
        self._ejection.extend(cause=cause, now=now, until=now + duration_s)

    def _set_aside(self, now: float) -> None:
        """Have the target prove itself before it takes traffic again."""
        self._ejections = self.ejections(now)
        self._healthy_since = None
        self._must_prove_itself = True
        self._set_aside_at = now
        self._probe = None
        self.turns += 1

    def _run_out_of_credit(self, *, started_at: float, now: float) -> None:
        if not self._began_before_healing(started_at):
            self._set_aside(now)
            self._wait(QUOTA_COOLDOWN_S, cause=Cause.QUOTA, now=now)

    def _cool(self, retry_after_s: int | None, *, started_at: float, now: float) -> None:
        """Wait as long as the vendor says, or longer each time where it does not say."""
        if started_at >= self._cooldown.since:
            self._limits_in_a_row += 1
        self._wait(retry_after_s or self._guessed_cooldown_s(), cause=Cause.RATE_LIMIT, now=now)

    def _wait(self, duration_s: float, *, cause: Cause, now: float) -> None:
        """Never shorter than known before."""
        until = now + self._jittered(min(duration_s, MOST_COOLDOWN_S))
        self._cooldown.extend(cause=cause, now=now, until=until)
        self.turns += 1

    def _guessed_cooldown_s(self) -> float:
        doublings = max(0, self._limits_in_a_row - 1)
        return MOST_COOLDOWN_S if doublings >= 16 else COOLDOWN_BASE_S * 2.0**doublings

    def _jittered(self, duration_s: float) -> float:
        return duration_s * (1 + JITTER * self._random.random())
