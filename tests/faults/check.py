"""Holds what a cell left behind against what its row of the table says."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from dispatch_app.execution.errors import ErrorCode
from dispatch_app.gateway.errors import MESSAGES
from policies_app.routing.codes import AttemptState, FaultClass, Strategy
from tests.faults.cells import BAD, Cell, Made
from tests.faults.play import Book, Evidence, Played, spoken
from tests.faults.shop import model_name
from tests.faults.table import CANARY, Cost, Says

GRACE_S = 0.1
"""How long after its deadline an answer may come."""


def deviations(played: Played) -> dict[Cell, list[str]]:
    """What is not as it should be, in words, by cell."""
    return {evidence.cell: found for evidence in played.evidence if (found := list(_deviations_of(evidence)))}


def wrong_books(book: Book) -> list[str]:
    """What a tenant's budget says that it should not."""
    found = []
    if book.reserved_nanos != 0:
        found.append(f"the budget still has {book.reserved_nanos} reserved")
    if book.budget_nanos != book.logged_nanos:
        found.append(f"the budget says that {book.budget_nanos} were spent, the log {book.logged_nanos}")
    return found


def lateness_s(evidence: Evidence) -> float:
    """How long after the deadline the client had its answer, or the log says so; below zero for one that was in time."""
    took_s = max(evidence.heard.elapsed_s, (evidence.dispatch.get("total_ms") or 0) / 1000)
    return took_s - evidence.cell.row.deadline_ms / 1000


def _deviations_of(evidence: Evidence) -> Iterator[str]:
    yield from _of_client(evidence)
    yield from _of_log(evidence)
    yield from _of_money(evidence)
    yield from _of_breakers(evidence)


def _of_client(evidence: Evidence) -> Iterator[str]:
    expected, heard = evidence.cell.expected(), evidence.heard
    if CANARY in heard.text or CANARY in str(heard.headers):
        yield "the vendor's own words reached the client"
    if expected.breaks_off:
        yield from _of_terminal_event(evidence)
    elif expected.answered_by is None:
        yield from _of_error(evidence)
    else:
        yield from _of_answer(evidence, expected.made[expected.answered_by - 1])


def _of_error(evidence: Evidence) -> Iterator[str]:
    status, code = evidence.cell.expected().told
    heard = evidence.heard
    if heard.status != status:
        yield f"status {heard.status} in place of {status}: {heard.text[:200]}"
        return
    if heard.headers["content-type"] != "application/json":
        yield f"an error of type {heard.headers['content-type']}"
    yield from _of_error_body(json.loads(heard.text), code)
    if not _is_retry_after(heard.headers.get("retry-after"), evidence.cell.row.retry_after):
        yield f"Retry-After is {heard.headers.get('retry-after')}"


def _of_error_body(body: dict[str, Any], code: str) -> Iterator[str]:
    error = body.get("error", {})
    if error.get("code") != code or error.get("message") != MESSAGES[ErrorCode(code)]:
        yield f"error body {body}"


def _is_retry_after(told: str | None, expected: str | None) -> bool:
    if expected is None or told is None:
        return told == expected
    figure, _, tolerance = expected.partition("±")
    return abs(int(told) - int(figure)) <= int(tolerance or 0)


def _of_terminal_event(evidence: Evidence) -> Iterator[str]:
    heard = evidence.heard
    events = _events(heard.text)
    if heard.status != 200 or len(events) < 2:
        yield f"status {heard.status} and {len(events)} events of a stream that broke off: {heard.text[:200]}"
        return
    if "[DONE]" in heard.text:
        yield "a stream that broke off has an end mark"
        return
    _, code = evidence.cell.expected().told
    yield from _of_error_body(json.loads(events[-1]), code)
    if not spoken(evidence.cell, BAD).startswith(_said(events[:-1])):
        yield "what was forwarded before is not what the vendor said"


def _of_answer(evidence: Evidence, made: Made) -> Iterator[str]:
    heard, cell = evidence.heard, evidence.cell
    if heard.status != 200:
        yield f"status {heard.status} in place of an answer: {heard.text[:200]}"
        return
    name = model_name(cell, made.model)
    if heard.headers["x-dispatch-model"] != name:
        yield f"{heard.headers['x-dispatch-model']} answered"
    if cell.group.stream:
        events = _events(heard.text)
        said, reasons = _said(events[:-1]), _finish_reasons(events[:-1])
        if events[-1:] != ["[DONE]"]:
            yield "a stream without an end mark"
    else:
        choices = json.loads(heard.text)["choices"]
        said = "".join(choice["message"]["content"] or "" for choice in choices)
        reasons = [choice["finish_reason"] for choice in choices]
    if said != spoken(cell, made.model):
        yield f"the client read {said[:80]!r}"
    if reasons != ["stop"]:
        yield f"the answer finished as {reasons}"


def _of_log(evidence: Evidence) -> Iterator[str]:
    cell, dispatch, attempts = evidence.cell, evidence.dispatch, evidence.attempts
    expected = cell.expected()
    seen = [(row["role"], row["fault"], row["wire_status"]) for row in attempts]
    if [(row["role"], row["fault"]) for row in attempts] != [
        (made.role.value, "" if made.fault is None else made.fault.value) for made in expected.made
    ]:
        yield f"attempts {seen}: {evidence.heard.status} {evidence.heard.text[:120]}"
        return
    for row, made in zip(attempts, expected.made, strict=True):
        is_void = made.fault is FaultClass.UNREACHABLE
        if row["state"] != (AttemptState.VOIDED if is_void else AttemptState.SETTLED):
            yield f"attempt {row['position']} is {row['state']}"
        if made.fault is cell.row.meets and row["wire_status"] != cell.row.wire_status:
            yield f"attempt {row['position']} has wire status {row['wire_status']}"
    _, code = expected.told
    is_answered = expected.answered_by is not None
    logged = {
        "status": "succeeded" if is_answered else "failed",
        "error_code": "" if is_answered else code,
        "answered_by": expected.answered_by,
        "attempts": len(expected.made),
        "stream": cell.group.stream,
        "strategy": cell.group.strategy.value,
        "validated": True if is_answered and cell.group.strategy is Strategy.CASCADE else None,
    }
    for name, value in logged.items():
        if dispatch[name] != value:
            yield f"{name} on the log is {dispatch[name]!r}, not {value!r}"


def _of_money(evidence: Evidence) -> Iterator[str]:
    expected, attempts = evidence.cell.expected(), evidence.attempts
    if len(attempts) != len(expected.made):
        return
    bills = {model: list(entries) for model, entries in evidence.billed.items()}
    for row, made in zip(attempts, expected.made, strict=True):
        is_reached = made.fault is not FaultClass.UNREACHABLE
        billed_nanos = bills[made.model].pop(0).cost_nanos if is_reached and bills[made.model] else 0
        if not _is_charged(row, made.cost, billed_nanos=billed_nanos):
            yield (
                f"attempt {row['position']} costs {row['cost_nanos']} of {row['reserved_nanos']}"
                f"{' (estimated)' if row['estimated'] else ''}, is billed {billed_nanos}, expected {made.cost.name}"
            )
    if any(bills.values()):
        yield f"the vendor was asked more often than the log says: {bills}"
    if evidence.dispatch["cost_nanos"] != sum(row["cost_nanos"] for row in attempts):
        yield "the dispatch does not cost what its attempts do"
    if evidence.dispatch["estimated"] != any(row["estimated"] for row in attempts):
        yield "the dispatch is marked as estimated, or not, unlike its attempts"


def _is_charged(row: Any, cost: Cost, *, billed_nanos: int) -> bool:
    charged, reserved, estimated = row["cost_nanos"], row["reserved_nanos"], row["estimated"]
    match cost:
        case Cost.NOTHING:
            return charged == billed_nanos == 0 and not estimated
        case Cost.EXACT:
            return charged == billed_nanos > 0 and not estimated
        case Cost.BOUND:
            return billed_nanos <= charged == reserved and estimated
        case Cost.PART:
            return billed_nanos <= charged <= reserved and estimated
        case Cost.AS_REPORTED:
            return charged == 0 and not estimated


def _of_breakers(evidence: Evidence) -> Iterator[str]:
    cell, row = evidence.cell, evidence.cell.row
    made = [made for made in cell.expected().made if made.model == BAD]
    health = evidence.health[BAD]
    if not health:
        yield "no process knows how the target fares"
        return
    met = sum(attempt.fault is not None for attempt in made)
    figures = (health["calls"], health["failures"])
    if figures != (len(made), 0 if row.breaker is Says.NOTHING else met):
        yield f"the breaker counts {figures} calls and failures"
    state, cause = _STATES[row.breaker]
    if _is_lasting(evidence) and (health["state"], health["cause"]) != (state, cause):
        yield f"the target is {health['state']} for {health['cause'] or 'no reason'}"


def _is_lasting(evidence: Evidence) -> bool:
    """A rate limit of a second may be over before anybody looks."""
    row = evidence.cell.row
    return row.breaker is not Says.COOLING or (row.times is None and row.retry_after != "1")


_STATES = {
    Says.NOTHING: ("healthy", ""),
    Says.FAILURE: ("healthy", ""),
    Says.COOLING: ("cooling", "rate_limit"),
    Says.OUT_OF_CREDIT: ("cooling", "quota"),
    Says.CREDENTIAL: ("open", "credential"),
}


def _events(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]


def _choices(events: Sequence[str]) -> Iterator[dict[str, Any]]:
    for event in events:
        yield from json.loads(event).get("choices", ())


def _said(events: Sequence[str]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in _choices(events))


def _finish_reasons(events: Sequence[str]) -> list[str]:
    return [choice["finish_reason"] for choice in _choices(events) if choice.get("finish_reason")]
