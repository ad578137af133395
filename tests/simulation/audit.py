"""What must never happen, looked for after every step and once more when all is quiet."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from uuid import UUID

from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.execution.ports import (
    AttemptRecord,
    BeginVerdict,
    DispatchOutcome,
    DispatchRecord,
    Settlement,
    UpstreamCall,
    Verdict,
)
from policies_app.routing.codes import AttemptRole, AttemptState, DispatchStatus, FaultClass
from policies_app.routing.types import RoutePlan
from tests.simulation.accounts import Accounts, AttemptRow, Balance, DispatchRow
from tests.simulation.fleet import Call, Fleet
from tests.simulation.process import Watch
from tests.simulation.requests import Visitor
from tests.simulation.server import Server
from tests.simulation.trace import Trace

GRACE_S = 0.1
"""How long after its deadline an answer may come."""
LEAST_S = 0.001
"""Who has less time than this has none: clocks and timers count in milliseconds."""
HEALING_S = 2.0
"""How long after the database is back a process may still be slow, or refuse."""
DISTURBED_GRACE_S = 12.0
"""The same while the database is away: each of begin and settle waits for it as long as its patience."""
_ASKED_ONCE = frozenset(
    {
        AttemptRole.PRIMARY,
        AttemptRole.FALLBACK,
        AttemptRole.ROTATION,
        AttemptRole.ESCALATION,
        AttemptRole.PARALLEL,
        AttemptRole.HEDGE,
        AttemptRole.CONTINUATION,
    }
)
_ROTATING = frozenset({AttemptRole.ROTATION, AttemptRole.CONTINUATION})
_CREDENTIALS_FAULTS = frozenset(
    {FaultClass.CREDENTIAL_REFUSED, FaultClass.QUOTA_EXHAUSTED, FaultClass.RATE_LIMITED}
)


class Auditor(Watch):
    """Watches one simulation. `fail` is told, in words, of the first thing that must not happen."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        server: Server,
        fleet: Fleet,
        trace: Trace,
        time: Callable[[], float],
        fail: Callable[[str], None],
    ) -> None:
        self.visitors: dict[UUID, Visitor] = {}
        self._by_nonce: dict[str, Visitor] = {}
        self._accounts = accounts
        self._server = server
        self._fleet = fleet
        self._trace = trace
        self._time = time
        self._fail = fail
        self._at_risk: dict[UUID, dict[UUID, int]] = {}
        self._admitted: dict[UUID, tuple[Visitor, AttemptRecord]] = {}
        self._unheard: set[UUID] = set()
        self._settled: set[UUID] = set()
        self._asked: dict[tuple[UUID, int], set[str]] = {}
        self._faulty: Counter[tuple[UUID, int]] = Counter()
        accounts.on_commit = self.on_commit
        accounts.on_admission = self.on_admission
        fleet.on_call = self.on_call
        fleet.on_mixing = fail

    def expect(self, visitor: Visitor) -> None:
        """Another request is on its way."""
        self.visitors[visitor.id] = visitor
        self._by_nonce[visitor.nonce] = visitor
        self._at_risk[visitor.id] = {}

    def on_commit(self, balances: Iterable[Balance]) -> None:
        for balance in balances:
            granted = balance.granted_nanos
            if granted is not None and balance.used_nanos > granted:
                self._fail(f"budget {balance.key} has {balance.used_nanos} of {granted} nanos in use")
            if min(balance.reserved_nanos, balance.settled_nanos) < 0 or balance.overage_nanos:
                self._fail(f"budget {balance.key} has come to {balance}")

    def on_admission(self, row: AttemptRow) -> None:
        self._trace.note("ledger", "admits", row.record.id.int & 0xFFFF, row.record.reserved_nanos)
        dispatch = self._accounts.dispatches.get(row.dispatch)
        if dispatch is None:
            self._fail(f"attempt {row.record.id} is logged without its dispatch")
            return
        for switch in self._accounts.switches:
            if not switch.is_lifted and self._accounts.stopping_switch(dispatch.record, row.record) is switch:
                self._fail(f"attempt {row.record.id} is admitted in spite of kill switch {switch}")

    def on_begin(self, dispatch: DispatchRecord, attempt: AttemptRecord) -> None:
        self._trace.note("executor", "begins", dispatch.id.int & 0xFFFF, attempt.role, attempt.position)
        visitor = self.visitors[dispatch.id]
        if visitor.is_ended_in_ledger:
            self._fail(f"{visitor.nonce} begins an attempt after its end")
        self._check_time_left(visitor, attempt)
        self._check_asked(dispatch, attempt, visitor)

    def on_begun(
        self, dispatch: DispatchRecord, attempt: AttemptRecord, verdict: BeginVerdict | None
    ) -> None:
        visitor = self.visitors[dispatch.id]
        self._trace.note("executor", "begun", attempt.id.int & 0xFFFF, verdict and verdict.verdict)
        if verdict is None or verdict.verdict is not Verdict.ADMITTED:
            # The server may still commit what it was sent over a connection that is gone, after a refusal over the next one.
            self._unheard.add(attempt.id)
            return
        visitor.begun += 1
        if attempt.role in _ASKED_ONCE:
            self._asked.setdefault((dispatch.id, attempt.model_id), set()).add(attempt.credential)
        self._admitted[attempt.id] = (visitor, attempt)
        self._at_risk[visitor.id][attempt.id] = attempt.reserved_nanos
        self._check_envelope(visitor)

    def _check_asked(self, dispatch: DispatchRecord, attempt: AttemptRecord, visitor: Visitor) -> None:
        """A model is asked once with each credential, and with another one only after the first was at fault."""
        asked = self._asked.get((dispatch.id, attempt.model_id), set())
        known = f"{visitor.nonce} asks model {attempt.model_id} with {attempt.credential} as {attempt.role}"
        if attempt.role is AttemptRole.ROTATION and not self._faulty[dispatch.id, attempt.model_id]:
            self._fail(f"{known}, and no credential was at fault")
        if attempt.role not in _ASKED_ONCE or not asked:
            return
        if attempt.credential in asked:
            self._fail(f"{known} again")
        if attempt.role not in _ROTATING:
            self._fail(f"{known} after {sorted(asked)}")

    def on_settle(self, settlement: Settlement) -> None:
        self._trace.note(
            "executor",
            "settles",
            settlement.attempt_id.int & 0xFFFF,
            settlement.state,
            settlement.fault,
            settlement.cost_nanos,
        )
        known = self._admitted.get(settlement.attempt_id)
        if known is None:
            self._fail(f"attempt {settlement.attempt_id} is settled and was never begun")
            return
        visitor, attempt = known
        if attempt.id in self._settled:
            self._fail(f"{visitor.nonce} settles attempt {attempt.position} twice")
        self._settled.add(attempt.id)
        if settlement.fault in _CREDENTIALS_FAULTS:
            self._faulty[visitor.id, attempt.model_id] += 1
        if not 0 <= settlement.cost_nanos <= attempt.reserved_nanos:
            self._fail(
                f"{visitor.nonce} settles {settlement.cost_nanos} of {attempt.reserved_nanos} reserved nanos"
            )
        self._at_risk[visitor.id][attempt.id] = settlement.cost_nanos
        if settlement.outcome is not None:
            self._end(visitor)

    def on_finish(self, dispatch: DispatchRecord, outcome: DispatchOutcome) -> None:
        self._trace.note("executor", "finishes", dispatch.id.int & 0xFFFF, outcome.status)
        self._end(self.visitors[dispatch.id])

    def on_call(self, call: Call, upstream_call: UpstreamCall) -> None:
        self._trace.note("vendor", "is asked", call.nonce[-4:], call.model_id, call.is_judge, call.number)
        visitor = self._by_nonce.get(call.nonce)
        plan = visitor and _plan_of(visitor)
        if visitor is None or plan is None or visitor.dispatch is None:
            self._fail(f"call {call.number} belongs to nobody")
            return
        calls = self._fleet.calls_of[call.nonce]
        if self._sent(calls, call.model_id) > self._logged(visitor, call.model_id):
            self._fail(f"{visitor.nonce} calls model {call.model_id} without a row in the log")
        if len(calls) > plan.max_attempts:
            self._fail(f"{visitor.nonce} makes call {len(calls)} of at most {plan.max_attempts}")
        if visitor.ended_at is not None:
            self._fail(f"{visitor.nonce} calls a vendor after its end")
        if upstream_call.deadline_at > visitor.dispatch.order.deadline_at:
            self._fail(f"{visitor.nonce} gives a vendor more time than it has")

    def on_late_part(self, visitor: Visitor) -> None:
        self._fail(f"{visitor.nonce} is sent a part after the last item of its stream")

    def on_answer(self, visitor: Visitor) -> None:
        """A dispatch is over, or was refused."""
        self._trace.note("executor", "answers", visitor.id.int & 0xFFFF)
        dispatch = visitor.dispatch
        if dispatch is None or visitor.ended_at is None:
            return
        self._check_time(visitor, visitor.ended_at, dispatch.order.deadline_at)
        if dispatch.progress.attempts and dispatch.progress.is_settled and not visitor.was_cut:
            self._check_acknowledged(visitor)

    def check_all(self, *, is_quiet: bool) -> None:
        """Hold all tables against one another; when all is quiet, nothing may be open any more."""
        self._check_balances()
        self._check_figures()
        for visitor in self.visitors.values():
            self._check_truth(visitor)
            self._check_words(visitor)
        if is_quiet:
            self._check_nothing_is_open()

    def _end(self, visitor: Visitor) -> None:
        if visitor.is_ended_in_ledger:
            self._fail(f"{visitor.nonce} ends twice")
        visitor.is_ended_in_ledger = True

    def _sent(self, calls: list[Call], model_id: int) -> int:
        return sum(call.model_id == model_id and not call.was_unreachable for call in calls)

    def _logged(self, visitor: Visitor, model_id: int) -> int:
        """Attempts at a model that the log has, but for those of which it says that nothing was sent."""
        rows = self._accounts.attempts_of.get(visitor.id, [])
        return sum(row.record.model_id == model_id and row.state is not AttemptState.VOIDED for row in rows)

    def _check_envelope(self, visitor: Visitor) -> None:
        plan = _plan_of(visitor)
        if plan is None:
            self._fail(f"{visitor.nonce} begins an attempt without a plan")
            return
        if visitor.begun > plan.max_attempts:
            self._fail(f"{visitor.nonce} begins attempt {visitor.begun} of at most {plan.max_attempts}")
        at_risk = sum(self._at_risk[visitor.id].values())
        if plan.max_cost_nanos is not None and at_risk > plan.max_cost_nanos:
            self._fail(f"{visitor.nonce} risks {at_risk} of at most {plan.max_cost_nanos} nanos")

    def _check_time_left(self, visitor: Visitor, attempt: AttemptRecord) -> None:
        """There is time for it. It may wait for others to be settled with them, and cannot expire until time is up."""
        left_s = 0.0 if visitor.dispatch is None else visitor.dispatch.order.deadline_at - self._time()
        if left_s < LEAST_S:
            self._fail(f"{visitor.nonce} begins an attempt with {left_s * 1000:.3f} ms left")
        if attempt.expires_at < attempt.created_at + timedelta(seconds=left_s):
            self._fail(f"{visitor.nonce} begins an attempt that can expire before its deadline")

    def _check_time(self, visitor: Visitor, ended_at: float, deadline_at: float) -> None:
        if visitor.was_held_up:
            return
        is_disturbed = self._server.disturbed_until + HEALING_S >= visitor.received_at
        grace_s = DISTURBED_GRACE_S if is_disturbed else GRACE_S
        if ended_at > deadline_at + grace_s:
            self._fail(f"{visitor.nonce} is answered {ended_at - deadline_at:.3f} s after its deadline")

    def _check_acknowledged(self, visitor: Visitor) -> None:
        record = visitor.admission and visitor.admission.record
        row = record and self._accounts.dispatches.get((record.created_at, record.id))
        if row is None or (row.status is DispatchStatus.OPEN and not self._has_expired(visitor.id)):
            self._fail(f"{visitor.nonce} is answered as settled, and the log says {row and row.status}")
        for attempt in self._accounts.attempts_of.get(visitor.id, ()):
            if attempt.state is AttemptState.OPEN and attempt.record.id not in self._unheard:
                self._fail(
                    f"{visitor.nonce} is answered as settled with attempt {attempt.record.position} open"
                )

    def _check_balances(self) -> None:
        reserved: dict[int, int] = {}
        settled: dict[int, int] = {}
        for row in self._accounts.attempts.values():
            is_open = row.state is AttemptState.OPEN
            for balance in row.balances:
                book = reserved if is_open else settled
                book[id(balance)] = book.get(id(balance), 0) + (
                    row.record.reserved_nanos if is_open else row.cost_nanos
                )
        for balance in self._accounts.balances.values():
            found = (balance.reserved_nanos, balance.settled_nanos)
            expected = (reserved.get(id(balance), 0), settled.get(id(balance), 0))
            if found != expected:
                self._fail(
                    f"budget {balance.key} has (reserved, settled) {found}, its attempts come to {expected}"
                )

    def _check_figures(self) -> None:
        accounts = self._accounts
        closed = [row for row in accounts.attempts.values() if row.state is not AttemptState.OPEN]
        ended = sum(row.endings for row in accounts.dispatches.values())
        deltas = accounts.figures + accounts.pending
        found = (
            sum(delta.dispatches for delta in deltas),
            sum(delta.attempts for delta in deltas),
            sum(delta.cost_nanos for delta in deltas),
            sum(delta.output_tokens for delta in deltas),
        )
        expected = (
            ended,
            len(closed),
            sum(row.cost_nanos for row in closed),
            sum(row.usage.output_tokens for row in closed),
        )
        if found != expected:
            self._fail(f"the figures say (dispatches, attempts, nanos, tokens) {found}, the log {expected}")

    def _check_truth(self, visitor: Visitor) -> None:
        """What vendors would bill for a request is no more than it was charged, or still has reserved."""
        charged: dict[int, int] = {}
        for row in self._accounts.attempts_of.get(visitor.id, ()):
            nanos = row.record.reserved_nanos if row.state is AttemptState.OPEN else row.cost_nanos
            charged[row.record.model_id] = charged.get(row.record.model_id, 0) + nanos
        billed: dict[int, int] = {}
        for call in self._fleet.calls_of.get(visitor.nonce, ()):
            billed[call.model_id] = billed.get(call.model_id, 0) + call.truth_nanos
        for model_id, nanos in billed.items():
            if nanos > charged.get(model_id, 0):
                self._fail(
                    f"{visitor.nonce} was charged {charged.get(model_id, 0)} nanos for model {model_id}, "
                    f"whose vendor bills {nanos}"
                )

    def _check_words(self, visitor: Visitor) -> None:
        """A client has all of one answer, from a vendor, to its own question; and nothing after the last word."""
        connection = visitor.connection
        if connection.bytes_after_the_end:
            self._fail(f"{visitor.nonce} got something after the last word")
        if visitor.failure is not None:
            self._fail(f"{visitor.nonce} met {visitor.failure!r}")
        if not connection.is_success:
            return
        calls = self._fleet.calls_of.get(visitor.nonce, [])
        answers = [
            {index: call.said_before + text for index, text in enumerate(call.texts)}
            for call in calls
            if call.is_complete and not call.is_judge
        ]
        if connection.texts not in answers:
            self._fail(f"{visitor.nonce} got {connection.texts}, and was answered {answers}")

    def _check_nothing_is_open(self) -> None:
        for row in self._accounts.attempts.values():
            if row.state is AttemptState.OPEN or row.endings != 1:
                self._fail(
                    f"attempt {row.record.id} of {row.dispatch[1]} is {row.state}, ended {row.endings} times"
                )
        for dispatch in self._accounts.dispatches.values():
            if dispatch.status is DispatchStatus.OPEN or not self._ended_once(dispatch):
                self._fail(
                    f"dispatch {dispatch.record.id} is {dispatch.status}, ended {dispatch.endings} times"
                )
        for visitor in self.visitors.values():
            self._check_cost(visitor)

    def _ended_once(self, dispatch: DispatchRow) -> bool:
        """A dispatch of which an attempt expired while its process went on may end once more."""
        return dispatch.endings == 1 or (dispatch.endings > 1 and self._has_expired(dispatch.record.id))

    def _has_expired(self, dispatch_id: UUID) -> bool:
        rows = self._accounts.attempts_of.get(dispatch_id, ())
        return any(row.state is AttemptState.EXPIRED for row in rows)

    def _check_cost(self, visitor: Visitor) -> None:
        """The cost that a client was told is the log's."""
        rows = self._accounts.attempts_of.get(visitor.id, [])
        if (
            visitor.dispatch is None
            or visitor.ended_at is None
            or visitor.was_cut
            or self._has_expired(visitor.id)
        ):
            return
        told, logged = visitor.dispatch.progress.cost_nanos, sum(row.cost_nanos for row in rows)
        if told != logged:
            self._fail(f"{visitor.nonce} was told {told} nanos, and the log says {logged}")


def is_acceptable_after_healing(visitor: Visitor) -> bool:
    """Whether a request that met no fault came to what it should: an answer, or a good reason for none."""
    word = visitor.connection.last_word
    is_refused = visitor.admission is not None and visitor.admission.decision.plan is None
    nobody_passed = isinstance(word, DispatchError) and word.code is ErrorCode.NO_VALID_ANSWER
    return visitor.connection.is_success or is_refused or nobody_passed


def _plan_of(visitor: Visitor) -> RoutePlan | None:
    return None if visitor.admission is None else visitor.admission.decision.plan
