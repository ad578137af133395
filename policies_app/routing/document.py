"""A policy as a document: what publishing stores, exports and imports carry, and `compile_policy` takes.

The values can be built in states that cannot be published (without a default rule, say), so that a draft can be
verified; `load` accepts only documents that are whole.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from policies_app.routing.codes import Pick, Strategy, WhenNonePasses
from policies_app.routing.conditions import Condition
from policies_app.routing.operands import LARGEST_NANOS, require_integer, require_text
from policies_app.routing.reading import DocumentError, plain, read_value
from policies_app.routing.validators import JudgeReference, Validator

__all__ = [
    "SCHEMA_VERSION",
    "DocumentError",
    "PolicyDocument",
    "RouteDocument",
    "RuleDocument",
    "StepDocument",
    "canonical_json",
    "content_hash",
    "dump",
    "load",
]

SCHEMA_VERSION = 2
"""What is written; 1 knew neither validators nor what belongs to cascade, parallel and hedged."""

_READABLE = (1, SCHEMA_VERSION)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDocument:
    """One target of a route. None: the rule's deadline, and the model's own output limit.

    An answer counts only if all of `validators` pass; `weight` ranks it where *parallel* picks by weight.
    """

    model: str
    timeout_ms: int | None = None
    max_output_tokens: int | None = None
    weight: int = 1
    validators: tuple[Validator, ...] = ()

    def __post_init__(self) -> None:
        require_text(self.model, "model")
        if self.timeout_ms is not None:
            require_integer(self.timeout_ms, "timeout_ms", least=1)
        if self.max_output_tokens is not None:
            require_integer(self.max_output_tokens, "max_output_tokens", least=1)
        require_integer(self.weight, "weight", least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDocument:
    """What a rule does with the requests that it takes, inside one envelope of time, upstream calls and money.

    `max_cost_nanos` bounds what all calls together may cost, None: the budgets alone do. `fall_back_on_long_context`
    lets a request that a vendor finds too long go on to the next step. `continue_broken_streams` lets the next step
    carry on an answer that broke off after it had begun to reach the client. `drain_ms` is how long an answer is read on
    when its client hangs up, so that the vendor's own count of it is known; None: it is cut at once.

    *cascade* reads `when_none_passes`. *parallel* reads `pick`, `judge` (if it picks by judge) and `patience_ms`: how
    long to wait for the others once one answer is there. *hedged* reads `hedge_delay_ms`: the least delay before the
    second target is asked, and the delay as long as the first one's p95 is not learned.
    """

    strategy: Strategy
    steps: tuple[StepDocument, ...]
    deadline_ms: int = 60_000
    max_attempts: int = 3
    max_cost_nanos: int | None = None
    allow_dearer_fallback: bool = False
    fall_back_on_long_context: bool = False
    continue_broken_streams: bool = False
    drain_ms: int | None = None
    when_none_passes: WhenNonePasses = WhenNonePasses.RETURN_LAST
    pick: Pick = Pick.FIRST_VALID
    judge: JudgeReference | None = None
    patience_ms: int | None = None
    hedge_delay_ms: int | None = None

    def __post_init__(self) -> None:
        require_integer(self.deadline_ms, "deadline_ms", least=1)
        require_integer(self.max_attempts, "max_attempts", least=1)
        if self.max_cost_nanos is not None:
            require_integer(self.max_cost_nanos, "max_cost_nanos", least=0, most=LARGEST_NANOS)
        if self.drain_ms is not None:
            require_integer(self.drain_ms, "drain_ms", least=1)
        if self.patience_ms is not None:
            require_integer(self.patience_ms, "patience_ms", least=0)
        if self.hedge_delay_ms is not None:
            require_integer(self.hedge_delay_ms, "hedge_delay_ms", least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDocument:
    """One rule: when all of its conditions hold, its route is taken."""

    name: str
    conditions: tuple[Condition, ...] = ()
    route: RouteDocument
    is_default: bool = False

    def __post_init__(self) -> None:
        require_text(self.name, "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDocument:
    """A policy: its rules in order, first match wins, the default last. Savings are measured against the baseline."""

    name: str
    baseline_model: str | None = None
    rules: tuple[RuleDocument, ...]

    def __post_init__(self) -> None:
        require_text(self.name, "name")
        if self.baseline_model is not None:
            require_text(self.baseline_model, "baseline_model")


def dump(document: PolicyDocument) -> dict[str, object]:
    """The document as JSON-ready builtins, with every field written out."""
    return {"schema_version": SCHEMA_VERSION, **plain(document)}


def load(mapping: Mapping[str, object]) -> PolicyDocument:
    """The document that `dump` wrote, or that somebody wrote by hand in the same form.

    :raises DocumentError: naming the place in the document and what is wrong there.
    """
    if not isinstance(mapping, Mapping):
        raise DocumentError("", "must be a mapping")
    version = mapping.get("schema_version")
    if type(version) is not int or version not in _READABLE:
        raise DocumentError("schema_version", f"must be one of {', '.join(map(str, _READABLE))}")
    fields = {key: value for key, value in mapping.items() if key != "schema_version"}
    document: PolicyDocument = read_value(fields, PolicyDocument, "")
    _require_distinct_names(document)
    _require_default_last(document)
    return document


def canonical_json(document: PolicyDocument) -> bytes:
    """The one byte string of this document: keys sorted, no spaces, UTF-8."""
    return msgspec.json.encode(dump(document), order="sorted")


def content_hash(document: PolicyDocument) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def _require_distinct_names(document: PolicyDocument) -> None:
    for name, count in Counter(rule.name for rule in document.rules).items():
        if count > 1:
            raise DocumentError("rules", f"the name “{name}” stands on {count} rules")


def _require_default_last(document: PolicyDocument) -> None:
    defaults = [position for position, rule in enumerate(document.rules) if rule.is_default]
    if defaults != [len(document.rules) - 1]:
        raise DocumentError("rules", "exactly one rule must be the default, and it must be the last")
    if document.rules[-1].conditions:
        raise DocumentError(f"rules[{defaults[0]}].conditions", "the default rule takes no conditions")
