"""What a test of a credential came to, in words. Pure; never a word of the vendor's."""

from dispatch_app.costs.formats import show_duration, show_exact_usd
from dispatch_app.execution.errors import DispatchError, ErrorCode, UpstreamError
from dispatch_app.fleet.account import CONNECTION_TESTS
from dispatch_app.providers.network_words import why_unreachable
from dispatch_app.snapshot.types import ServedProvider
from policies_app.models.choices import wire_format_words
from policies_app.routing.codes import FaultClass
from policies_app.routing.types import Candidate

_REFUSALS = {
    ErrorCode.KILLED: "A kill switch stops it.",
    ErrorCode.INSUFFICIENT_QUOTA: f"The budget of such tests, {CONNECTION_TESTS}, is used up.",
    ErrorCode.LEDGER_UNAVAILABLE: "The ledger is not to be had, and without it nothing is called.",
}
_FAULTS = {
    FaultClass.CREDENTIAL_REFUSED: "{provider} refuses this credential{status}.",
    FaultClass.RATE_LIMITED: "{provider} knows this credential, and limits its rate{status}.",
    FaultClass.QUOTA_EXHAUSTED: "{provider} knows this credential, and gives it no more credit{status}.",
    FaultClass.SERVER_ERROR: "{provider} failed{status}.",
    FaultClass.FIRST_BYTE_TIMEOUT: "{provider} gave no answer in time.",
    FaultClass.IDLE_TIMEOUT: "{provider} fell silent half-way.",
    FaultClass.DEADLINE_EXCEEDED: "{provider} gave no answer in time.",
    FaultClass.TRUNCATED: "{provider} broke the connection off.",
    FaultClass.INVALID_REPLY: "What answered there does not speak {wire_format}.",
    FaultClass.REDIRECTED: "{provider} answered with a redirect{status}, which is not followed. Is the base URL right?",
}


def in_words(
    *,
    problem: DispatchError | None,
    fault: UpstreamError | None,
    candidate: Candidate | None,
    provider: ServedProvider,
    latency_ms: int | None,
    cost_nanos: int,
) -> str:
    """One or two sentences: who answered, in which time and for how much; or why nobody did."""
    if fault is not None:
        return _fault_in_words(fault, candidate, provider)
    if problem is not None:
        return _REFUSALS.get(problem.code, f"It was not called: {problem.code.value.replace('_', ' ')}.")
    name = "It" if candidate is None else candidate.model.name
    return f"{name} answered in {show_duration(latency_ms or 0)}, for {show_exact_usd(cost_nanos)}."


def _fault_in_words(fault: UpstreamError, candidate: Candidate | None, provider: ServedProvider) -> str:
    status = "" if fault.wire_status is None or fault.wire_status < 300 else f" (HTTP {fault.wire_status})"
    if fault.fault is FaultClass.UNREACHABLE:
        return f"{provider.name} could not be reached: {why_unreachable(fault)}."
    if fault.fault is FaultClass.BAD_REQUEST:
        wire_name = "" if candidate is None else f", {candidate.model.wire_name},"
        if fault.wire_status == 404:
            return (
                f"{provider.name} does not know what was asked for{status}."
                f" Are the base URL and the model's wire name{wire_name} right?"
            )
        return f"{provider.name} did not take the request{status}."
    words = _FAULTS.get(fault.fault, "It failed: " + fault.fault.value.replace("_", " ") + "{status}.")
    return words.format(
        provider=provider.name, status=status, wire_format=wire_format_words(provider.wire_format)
    )
