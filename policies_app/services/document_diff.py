"""What changed between two versions of a policy, in words for the person who publishes."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from policies_app.routing.codes import Pick, Strategy, WhenNonePasses
from policies_app.routing.compilation import validates
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.money import usd

_NONE_PASSES = {WhenNonePasses.RETURN_LAST: "the last answer is given", WhenNonePasses.FAIL: "it fails"}
_PICKS = {
    Pick.FIRST_VALID: "the first valid answer",
    Pick.HIGHEST_CONFIDENCE: "the answer of the highest confidence",
    Pick.LONGEST_AGREEING: "the longest of the answers that agree most",
    Pick.WEIGHTED: "the answer of the greatest weight",
    Pick.JUDGE: "what the judge prefers",
}
_LEAVES = (
    ("fall_back_on_long_context", "goes on to the next step when the prompt is too long for a model"),
    ("continue_broken_streams", "has the next step carry on a stream that broke off"),
)


class ChangeKind(StrEnum):
    """How something differs from the older version."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentChange:
    """One difference. `rule` is None when it concerns the policy as a whole."""

    kind: ChangeKind
    rule: str | None
    text: str

    def __str__(self) -> str:
        return self.text


def diff_documents(old: PolicyDocument | None, new: PolicyDocument) -> tuple[DocumentChange, ...]:
    """Return what `new` changes, in the order of its rules; from nothing when there is no `old` version."""
    old_rules = {} if old is None else {rule.name: rule for rule in old.rules}
    new_names = [rule.name for rule in new.rules]
    changes = [*_baseline_changes(old, new)]
    for rule in new.rules:
        if rule.name in old_rules:
            changes += _rule_changes(old_rules[rule.name], rule) or _hidden_change(old_rules[rule.name], rule)
        else:
            changes.append(_change(ChangeKind.ADDED, rule, f"added: {_rule_in_words(rule)}"))
    changes += [
        _change(ChangeKind.REMOVED, rule, f"removed; it was: {_rule_in_words(rule)}")
        for name, rule in old_rules.items()
        if name not in new_names
    ]
    return (*changes, *_order_changes([*old_rules], new_names))


def _baseline_changes(old: PolicyDocument | None, new: PolicyDocument) -> Iterator[DocumentChange]:
    before = old.baseline_model if old else None
    if before != new.baseline_model:
        text = f"Savings are measured against {new.baseline_model or 'nothing'}, no longer {before or 'nothing'}."
        yield DocumentChange(kind=ChangeKind.CHANGED, rule=None, text=text)


def _rule_changes(old: RuleDocument, new: RuleDocument) -> list[DocumentChange]:
    return [*_changes_of_rule(old, new)]


def _hidden_change(old: RuleDocument, new: RuleDocument) -> list[DocumentChange]:
    """What differs without a word for it: the ends of long lists, schemas, what the rule's strategy never looks at."""
    text = "changed in details that are not told here; the document has them."
    return [] if old == new else [_change(ChangeKind.CHANGED, new, text)]


def _changes_of_rule(old: RuleDocument, new: RuleDocument) -> Iterator[DocumentChange]:
    before, after = conditions_in_words(old), conditions_in_words(new)
    if before != after:
        yield _change(ChangeKind.CHANGED, new, f"taken {after}; was {before}.")
    before, after = route_in_words(old.route), route_in_words(new.route)
    if before != after:
        yield _change(ChangeKind.CHANGED, new, f"{after}; was {before}.")
    yield from _changes_of_envelope(old, new)
    if old.route.drain_ms != new.route.drain_ms:
        before, after = _drain(old.route.drain_ms), _drain(new.route.drain_ms)
        yield _change(ChangeKind.CHANGED, new, f"{after} when its client hangs up; was {before}.")
    for field, words in _LEAVES:
        before, after = getattr(old.route, field), getattr(new.route, field)
        if before != after:
            yield _change(ChangeKind.CHANGED, new, f"{'now' if after else 'no longer'} {words}.")
    if old.route.allow_dearer_fallback != new.route.allow_dearer_fallback:
        allowed = "may" if new.route.allow_dearer_fallback else "may no longer"
        yield _change(ChangeKind.CHANGED, new, f"{allowed} fall back to a dearer model.")
    if old.is_default != new.is_default:
        role = "is now the default" if new.is_default else "is no longer the default"
        yield _change(ChangeKind.CHANGED, new, f"{role}.")


def _changes_of_envelope(old: RuleDocument, new: RuleDocument) -> Iterator[DocumentChange]:
    if old.route.deadline_ms != new.route.deadline_ms:
        yield _change(
            ChangeKind.CHANGED,
            new,
            f"deadline {_seconds(new.route.deadline_ms)}; was {_seconds(old.route.deadline_ms)}.",
        )
    if old.route.max_attempts != new.route.max_attempts:
        yield _change(
            ChangeKind.CHANGED,
            new,
            f"at most {new.route.max_attempts} upstream calls; was {old.route.max_attempts}.",
        )
    if old.route.max_cost_nanos != new.route.max_cost_nanos:
        before, after = _money(old.route.max_cost_nanos), _money(new.route.max_cost_nanos)
        yield _change(ChangeKind.CHANGED, new, f"may cost {after}; was {before}.")


def _order_changes(old_names: list[str], new_names: list[str]) -> Iterator[DocumentChange]:
    before = [name for name in old_names if name in new_names]
    after = [name for name in new_names if name in old_names]
    if before != after:
        text = f"Rules are tried in the order {', '.join(after)}; was {', '.join(before)}."
        yield DocumentChange(kind=ChangeKind.CHANGED, rule=None, text=text)


def _change(kind: ChangeKind, rule: RuleDocument, text: str) -> DocumentChange:
    return DocumentChange(kind=kind, rule=rule.name, text=f"Rule {rule.name}: {text}")


def _rule_in_words(rule: RuleDocument) -> str:
    return f"{conditions_in_words(rule)}, {route_in_words(rule.route)}."


def conditions_in_words(rule: RuleDocument) -> str:
    """When the rule takes a request, as the rest of a sentence."""
    if rule.is_default:
        return "when no other rule matches"
    if not rule.conditions:
        return "always"
    return "when " + " and ".join(condition.expected() for condition in rule.conditions)


def route_in_words(route: RouteDocument) -> str:
    """What is called in which order, as the rest of a sentence."""
    steps = [_step_in_words(step, route) for step in route.steps] or ["no model"]
    match route.strategy:
        case Strategy.SINGLE:
            return f"call {steps[0]}"
        case Strategy.FAILOVER:
            return f"failover over {', then '.join(steps)}"
        case Strategy.CASCADE:
            return f"cascade over {', then '.join(steps)}; if none passes, {_NONE_PASSES[route.when_none_passes]}"
        case Strategy.PARALLEL:
            return f"{', '.join(steps)} at once; {_pick_in_words(route)}"
        case Strategy.HEDGED:
            return f"hedged over {', then '.join(steps)}; {_hedge_in_words(route)}"


def _pick_in_words(route: RouteDocument) -> str:
    words = (
        f"judge {route.judge} picks"
        if route.pick is Pick.JUDGE and route.judge
        else f"{_PICKS[route.pick]} is given"
    )
    if route.patience_ms is not None:
        words += f", the others are waited for {_seconds(route.patience_ms)}"
    if any(step.validators for step in route.steps):
        words += f"; if none passes, {_NONE_PASSES[route.when_none_passes]}"
    return words


def _hedge_in_words(route: RouteDocument) -> str:
    learned = "the first one's learned p95"
    least = "" if route.hedge_delay_ms is None else f", {_seconds(route.hedge_delay_ms)} at least"
    return f"the second is asked after {learned}{least}"


def _step_in_words(step: StepDocument, route: RouteDocument) -> str:
    notes = []
    if step.timeout_ms is not None:
        notes.append(f"{_seconds(step.timeout_ms)} at most")
    if step.max_output_tokens is not None:
        notes.append(f"{step.max_output_tokens} output tokens at most")
    if route.strategy is Strategy.PARALLEL and route.pick is Pick.WEIGHTED:
        notes.append(f"weight {step.weight}")
    if validates(route):
        notes += [validator.expected() for validator in step.validators]
    return f"{step.model} ({', '.join(notes)})" if notes else step.model


def _money(nanos: int | None) -> str:
    return "as much as its budgets allow" if nanos is None else f"{usd(nanos)} USD at most"


def _drain(drain_ms: int | None) -> str:
    return "cut at once" if drain_ms is None else f"read on for {_seconds(drain_ms)} at most"


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms / 1000:g} s"
