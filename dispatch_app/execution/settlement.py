"""What an attempt is charged. Pure: the fault table's money column as functions."""

from dataclasses import dataclass, replace

from dispatch_app.execution.errors import StoppedError, UpstreamError
from policies_app.routing.money import bound_nanos, cost_nanos, input_tokens_bound
from policies_app.routing.types import Candidate, Facts, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What is posted for an attempt.

    `estimated` says that the vendor's own figure was not to be had, or not credible; usage then is what the cost was
    estimated from.
    """

    usage: Usage
    cost_nanos: int
    estimated: bool


NOTHING = Charge(usage=Usage(), cost_nanos=0, estimated=False)


def charge_reply(*, usage: Usage | None, candidate: Candidate, facts: Facts) -> Charge:
    """Charge what was reported; the bound where nothing was, or where the report is below zero or above the bound."""
    if usage is None or not _is_countable(usage):
        return _charge_bound(candidate, facts)
    cost = cost_nanos(usage=usage, price=candidate.price)
    if cost > candidate.bound_nanos:
        return _charge_bound(candidate, facts)
    return Charge(usage=usage, cost_nanos=cost, estimated=False)


def charge_fault(
    *, error: UpstreamError, candidate: Candidate, facts: Facts, received_bytes: int | None
) -> Charge:
    """Charge a failed attempt: nothing, what was reported, what was received, or the bound.

    `received_bytes` is None where what was received does not bound what was generated.
    """
    if not error.is_billable:
        return NOTHING
    is_uncounted = isinstance(error, StoppedError) and error.usage is None
    if is_uncounted and received_bytes is not None and not candidate.model.bills_after_cut:
        return _charge_received(candidate, facts, received_bytes)
    return charge_reply(usage=error.usage, candidate=candidate, facts=facts)


def _charge_received(candidate: Candidate, facts: Facts, received_bytes: int) -> Charge:
    """A token is at least one byte, so the bytes received bound the output that was generated for them."""
    received = bound_nanos(
        facts=replace(facts, choices=1),
        model=candidate.model,
        price=candidate.price,
        output_tokens_limit=received_bytes,
    )
    return Charge(
        usage=Usage(
            input_tokens=input_tokens_bound(facts=facts, model=candidate.model), output_tokens=received_bytes
        ),
        cost_nanos=min(received, candidate.bound_nanos),
        estimated=True,
    )


def _charge_bound(candidate: Candidate, facts: Facts) -> Charge:
    return Charge(
        usage=Usage(
            input_tokens=input_tokens_bound(facts=facts, model=candidate.model),
            output_tokens=facts.choices * candidate.output_tokens_limit,
        ),
        cost_nanos=candidate.bound_nanos,
        estimated=True,
    )


def _is_countable(usage: Usage) -> bool:
    counts = (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )
    # A free model has a bound of zero, which stops no absurd count; the log's columns do.
    return min(counts) >= 0 and max(counts) < 2**40
