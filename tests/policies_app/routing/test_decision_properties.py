"""What holds for every policy, fleet, request and situation."""

from dataclasses import replace
from heapq import nlargest

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policies_app.routing.choose import choose
from policies_app.routing.codes import BudgetAction, HealthState, RefusalCode, Tier
from policies_app.routing.compilation import compile_policy, named_judges
from policies_app.routing.document import (
    PolicyDocument,
    RuleDocument,
    canonical_json,
    content_hash,
    dump,
    load,
)
from policies_app.routing.explain import explain, explain_rule
from policies_app.routing.money import cost_nanos
from policies_app.routing.trace import failed_kinds
from policies_app.routing.types import Catalogue, Decision, Facts, Judges, Situation, Usage
from policies_app.routing.verify import verify
from policies_app.routing.worst_case import worst_case
from tests.policies_app.routing.builders import NOW, a_budget, down_to
from tests.policies_app.routing.strategies import (
    catalogues,
    documents,
    facts,
    inserted_rules,
    judges,
    situations,
)

# A case is a whole policy with a fleet; fifty of them for each promise keep the suite quick.
quickly = settings(max_examples=50, deadline=None)


def decide(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation, seed: int = 0
) -> Decision:
    compiled = compile_policy(document=document, version=1, catalogue=fleet)
    return choose(document=compiled, facts=request, situation=situation, now=NOW, seed=seed)


@quickly
@given(documents(), catalogues, facts, situations, st.integers())
def test_every_request_is_decided_once_and_the_same_way_again(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation, seed: int
) -> None:
    decision = decide(document, fleet, request, situation, seed)

    assert (decision.plan is None) is not (decision.refusal is None)
    assert decision.plan is None or decision.plan.candidates
    assert decision == decide(document, fleet, request, situation, seed)


@quickly
@given(documents(), catalogues, facts, situations)
def test_every_decision_can_be_told_in_words(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    decision = decide(document, fleet, request, situation)

    assert explain(decision=decision).endswith(".")
    assert all(explain_rule(seen) for seen in decision.trace)


@quickly
@given(documents(), catalogues, facts, situations)
def test_the_trace_ends_with_the_rule_that_matched_and_with_no_other(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    decision = decide(document, fleet, request, situation)

    assert [seen.rule for seen in decision.trace if seen.matched] == [decision.rule] * (
        decision.rule is not None
    )
    assert all(bool(seen.failed) is not seen.matched for seen in decision.trace)
    assert failed_kinds(decision.trace) == [seen.failed for seen in decision.trace if not seen.matched]
    assert [seen.rule for seen in decision.trace] == [rule.name for rule in document.rules][
        : len(decision.trace)
    ]


@quickly
@given(documents(), catalogues, facts, situations)
def test_the_trace_says_the_same_as_the_conditions(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    trace = decide(document, fleet, request, situation).trace

    for rule, seen in zip(document.rules, trace, strict=False):
        verdicts = [(stated.kind, stated.holds(request, situation, NOW)) for stated in rule.conditions]
        failed = next((kind for kind, holds in verdicts if not holds), "")
        is_killed = ("auto", rule.name) in situation.killed.rules
        assert seen.failed == ("killed" if is_killed else failed)


@quickly
@given(documents(), catalogues, facts, situations)
def test_an_ejected_target_is_planned_alone_or_not_at_all(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    plan = decide(document, fleet, request, situation).plan

    states = [candidate.state for candidate in plan.candidates] if plan else []
    if len(states) > 1:
        assert set(states) <= {HealthState.HEALTHY, HealthState.HALF_OPEN}
        assert HealthState.HEALTHY in states


@quickly
@given(documents(), catalogues, facts, situations)
def test_failing_targets_never_make_a_refusal(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    rules = tuple(
        replace(rule, conditions=tuple(stated for stated in rule.conditions if stated.kind != "health"))
        for rule in document.rules
    )
    document = replace(document, rules=rules)
    well = replace(situation, fleet=replace(situation.fleet, targets={}))

    ailing = decide(document, fleet, request, situation)
    healthy = decide(document, fleet, request, well)

    assert (ailing.rule, ailing.refusal) == (healthy.rule, healthy.refusal)


@quickly
@given(documents(), catalogues, facts, situations, judges)
def test_each_judge_of_the_route_is_planned_or_dropped_exactly_once(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation, known: Judges
) -> None:
    compiled = compile_policy(document=document, version=1, catalogue=fleet, judges=known)
    decision = choose(document=compiled, facts=request, situation=situation, now=NOW, seed=1)
    assume(decision.plan is not None)
    assert decision.plan is not None

    planned = [f"judge {judge.judge.reference}" for judge in decision.plan.judges]
    dropped = [drop.model for drop in decision.dropped if drop.model.startswith("judge ")]
    route = next(rule.route for rule in document.rules if rule.name == decision.rule)
    assert sorted(planned + dropped) == sorted(f"judge {reference}" for reference in named_judges(route))
    assert {(judge.judge.name, judge.judge.version) for judge in decision.plan.judges} <= known.keys()


@quickly
@given(documents(), catalogues, facts, situations)
def test_each_step_that_can_be_reached_is_planned_or_dropped_exactly_once(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    decision = decide(document, fleet, request, situation)
    assume(decision.rule is not None)

    rule = next(rule for rule in document.rules if rule.name == decision.rule)
    candidates = decision.plan.candidates if decision.plan else ()
    dropped = [drop.model for drop in decision.dropped if not drop.model.startswith("judge ")]
    seen = [candidate.model.name for candidate in candidates] + dropped
    stated = list(dict.fromkeys(step.model for step in rule.route.steps))
    reachable = stated[:1] if rule.route.strategy == "single" else stated
    assert sorted(seen) == sorted(reachable)
    planned = [candidate.model.name for candidate in candidates]
    assert planned == [name for name in reachable if name in planned]


@quickly
@given(documents(), catalogues, facts, situations)
def test_nothing_that_a_switch_stops_is_ever_planned(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    decision = decide(document, fleet, request, situation)
    killed = situation.killed

    if decision.plan is None:
        return
    assert not killed.everything
    assert request.tenant not in killed.tenants
    assert request.api_key not in killed.api_keys
    assert (request.tenant, request.end_user) not in killed.end_users
    assert "auto" not in killed.policies
    assert ("auto", decision.plan.rule) not in killed.rules
    for candidate in decision.plan.candidates:
        assert candidate.model.name not in killed.models
        assert candidate.model.provider not in killed.providers


@quickly
@given(documents(), catalogues, facts, situations)
def test_every_candidate_can_take_the_request_within_its_limits(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    plan = decide(document, fleet, request, situation).plan

    for candidate in plan.candidates if plan else ():
        model = candidate.model
        assert model.enabled
        assert request.needs <= model.capabilities
        if request.is_for_embeddings:
            assert model.embeds
            assert candidate.output_tokens_limit == 0
            assert request.longest_input_tokens <= model.context_window_tokens
            continue
        assert not model.embeds
        assert 1 <= candidate.output_tokens_limit <= model.max_output_tokens
        assert request.input_tokens + candidate.output_tokens_limit <= model.context_window_tokens
        assert request.output_tokens is None or candidate.output_tokens_limit <= max(1, request.output_tokens)


@quickly
@given(documents(), catalogues, facts, situations, st.data())
def test_no_call_within_its_limits_costs_more_than_its_candidate_is_bound_to(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation, data: st.DataObject
) -> None:
    plan = decide(document, fleet, request, situation).plan
    assume(plan is not None)
    assert plan is not None
    candidate = data.draw(st.sampled_from(plan.candidates))

    most_input = request.input_tokens_bound + request.images * candidate.model.image_tokens_bound
    most_output = request.choices * candidate.output_tokens_limit
    fresh = data.draw(st.integers(0, most_input))
    cached = data.draw(st.integers(0, most_input - fresh))
    reasoning = data.draw(st.integers(0, most_output))
    usage = Usage(
        input_tokens=fresh,
        cached_input_tokens=cached,
        cache_write_tokens=most_input - fresh - cached,
        output_tokens=most_output - reasoning,
        reasoning_tokens=reasoning,
    )

    assert cost_nanos(usage=usage, price=candidate.price) <= candidate.bound_nanos


@quickly
@given(documents(), catalogues, st.tuples(facts, situations), inserted_rules, st.integers(0, 5))
def test_a_rule_that_does_not_match_changes_nothing(
    document: PolicyDocument,
    fleet: Catalogue,
    asked: tuple[Facts, Situation],
    inserted: RuleDocument,
    position: int,
) -> None:
    request, situation = asked
    assume(not all(condition.holds(request, situation, NOW) for condition in inserted.conditions))
    rules = list(document.rules)
    rules.insert(position, inserted)

    before = decide(document, fleet, request, situation)
    after = decide(replace(document, rules=tuple(rules)), fleet, request, situation)

    assert (after.rule, after.plan, after.refusal, after.dropped) == (
        before.rule,
        before.plan,
        before.refusal,
        before.dropped,
    )


@quickly
@given(documents(), catalogues, facts, situations)
def test_a_killed_rule_decides_like_a_rule_that_is_not_there(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    without = tuple(rule for rule in document.rules if ("auto", rule.name) not in situation.killed.rules)

    killed = decide(document, fleet, request, situation)
    removed = decide(replace(document, rules=without), fleet, request, situation)

    assert (killed.plan, killed.rule) == (removed.plan, removed.rule)
    if killed.refusal != removed.refusal:  # Where no other rule matches, it is the switch that is told.
        assert killed.refusal is not None
        assert killed.refusal.code is RefusalCode.KILLED
        assert removed.rule is None


@quickly
@given(documents(), catalogues, facts, situations, st.sampled_from(Tier))
def test_one_more_capping_budget_never_lets_a_higher_tier_in(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation, cap: Tier
) -> None:
    # Rules that look at budgets may route elsewhere under pressure; the cap itself is what is asked about here.
    rules = tuple(
        replace(rule, conditions=tuple(stated for stated in rule.conditions if stated.kind != "budget_used"))
        for rule in document.rules
    )
    document = replace(document, rules=rules)
    # Where a cap leaves failing targets only, the least bad of them is tried; that is asked about elsewhere.
    situation = replace(situation, fleet=replace(situation.fleet, targets={}))
    budget = a_budget(action=BudgetAction.DOWNGRADE, used_nanos=100, steps=down_to(cap))
    pressed = replace(situation, budgets=(*situation.budgets, budget))

    before = decide(document, fleet, request, situation).plan
    after = decide(document, fleet, request, pressed).plan

    if after is None:
        return
    assert before is not None
    assert {candidate.model.name for candidate in after.candidates} <= {
        candidate.model.name for candidate in before.candidates
    }
    assert all(candidate.model.tier.rank <= cap.rank for candidate in after.candidates)


@quickly
@given(documents())
def test_a_document_is_the_same_after_a_round_trip(document: PolicyDocument) -> None:
    assert load(dump(document)) == document
    assert content_hash(load(dump(document))) == content_hash(document)


@quickly
@given(documents(), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_bear_on_the_hash(document: PolicyDocument, random: object) -> None:
    assert canonical_json(load(_shuffled(dump(document), random))) == canonical_json(document)


def _shuffled(value: object, random: object) -> object:
    if isinstance(value, dict):
        items = list(value.items())
        random.shuffle(items)
        return {key: _shuffled(item, random) for key, item in items}
    return [_shuffled(item, random) for item in value] if isinstance(value, list) else value


@quickly
@given(documents(), catalogues, facts, situations)
def test_a_rule_called_dead_never_matches(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    calm = replace(situation, killed=replace(situation.killed, rules=frozenset()))
    findings = verify(document=document, catalogue=fleet, now=NOW)
    dead = {
        finding.rule
        for finding in findings
        if finding.code in ("dead_rule", "after_unconditional", "contradiction")
    }

    assert decide(document, fleet, request, calm).rule not in dead


@quickly
@given(documents(), catalogues, facts, situations)
def test_no_plan_exceeds_the_worst_case_of_its_rule(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation
) -> None:
    # The worst case is stated for one reply, and the text that it supposes fits the context.
    request = replace(
        request,
        choices=1,
        images=0,
        input_tokens_bound=request.input_tokens,
        longest_input_tokens=request.input_tokens,
    )
    plan = decide(document, fleet, request, situation).plan
    assume(plan is not None)
    assert plan is not None

    rule = next(rule for rule in document.rules if rule.name == plan.rule)
    worst = worst_case(rule=rule, catalogue=fleet, now=NOW)

    calls = [candidate.bound_nanos for candidate in plan.candidates]
    cost_nanos = sum(nlargest(plan.max_attempts, calls))
    assert min(plan.max_attempts, len(calls)) <= worst.attempts <= plan.max_attempts
    assert worst.duration_ms <= plan.deadline_ms
    assert (
        min(cost_nanos, cost_nanos if plan.max_cost_nanos is None else plan.max_cost_nanos)
        <= worst.cost_nanos
    )
