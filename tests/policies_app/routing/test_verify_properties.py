"""What a policy without findings promises, whatever the policy, the fleet and the request."""

from dataclasses import replace

from hypothesis import given, settings

from policies_app.routing.choose import choose
from policies_app.routing.codes import Severity
from policies_app.routing.compilation import compile_policy
from policies_app.routing.document import PolicyDocument
from policies_app.routing.types import Catalogue, Facts, Judges
from policies_app.routing.verify import verify
from policies_app.routing.worst_case import worst_case
from tests.policies_app.routing.builders import CALM, NOW
from tests.policies_app.routing.strategies import catalogues, documents, facts, judges

quickly = settings(max_examples=80, deadline=None)


@quickly
@given(documents(), catalogues, facts, judges)
def test_no_plain_request_is_refused_by_a_rule_of_which_nothing_was_said(
    document: PolicyDocument, fleet: Catalogue, request: Facts, known: Judges
) -> None:
    plain = replace(
        request,
        needs=frozenset(),
        input_tokens=10,
        input_tokens_bound=0,
        images=0,
        output_tokens=None,
        choices=1,
        inputs=1,
        longest_input_tokens=0,
    )
    compiled = compile_policy(document=document, version=1, catalogue=fleet, judges=known)
    findings = verify(document=document, catalogue=fleet, judges=known, now=NOW)
    keeping_out = {
        finding.rule
        for finding in findings
        if finding.severity is Severity.ERROR
        or finding.code in {"disabled_model", "cost_bound_too_low", "embeddings_only"}
    }

    decision = choose(document=compiled, facts=plain, situation=CALM, now=NOW, seed=1)

    assert decision.plan is not None or decision.rule in keeping_out


@quickly
@given(documents(), catalogues, judges)
def test_findings_name_rules_of_the_policy_in_words_and_worst_cases_stay_in_their_envelopes(
    document: PolicyDocument, fleet: Catalogue, known: Judges
) -> None:
    names = {rule.name for rule in document.rules}

    for finding in verify(document=document, catalogue=fleet, judges=known, now=NOW):
        assert finding.rule is None or finding.rule in names
        assert finding.message.endswith(".")
    for rule in document.rules:
        worst = worst_case(rule=rule, catalogue=fleet, judges=known, now=NOW)
        assert 1 <= worst.attempts <= rule.route.max_attempts
        assert 1 <= worst.duration_ms <= rule.route.deadline_ms
        assert worst.cost_nanos >= 0
        assert rule.route.max_cost_nanos is None or worst.cost_nanos <= rule.route.max_cost_nanos
