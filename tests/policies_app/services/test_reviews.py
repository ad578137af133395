"""What is found in a policy, against the catalogue and the judges as they stand in the database."""

import pytest

from policies_app.models import JudgeVersion
from policies_app.routing.codes import Pick, Strategy
from policies_app.routing.validators import JudgeReference
from policies_app.services.publishing import find_problems
from policies_app.services.reviews import review_draft
from tests.factories import make_fleet, make_judge, make_policy
from tests.policies_app.routing.builders import a_default, a_policy, a_route

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet():
    return make_fleet()


def a_race(version):
    route = a_route(
        "small",
        "mid",
        strategy=Strategy.PARALLEL,
        pick=Pick.JUDGE,
        judge=JudgeReference(name="helpfulness", version=version),
    )
    return a_policy(a_default(route))


def test_every_version_of_a_judge_is_known_and_no_other(fleet):
    make_judge("helpfulness", model=fleet.frontier, versions=2)

    found = [[finding.code for finding in find_problems(a_race(version))] for version in (1, 2, 3)]

    assert found == [[], [], ["unknown_judge"]]


def test_a_judge_whose_scale_cannot_be_read_is_unknown(fleet):
    judge = make_judge("helpfulness", model=fleet.frontier)
    JudgeVersion.objects.create(
        judge=judge,
        number=2,
        model=fleet.frontier,
        instructions="Rate.",
        rubric="Right?",
        verdicts=["good"],
        author_name="ops",
    )

    assert [finding.code for finding in find_problems(a_race(2))] == ["unknown_judge"]


def test_the_worst_case_of_a_draft_counts_the_judge(fleet):
    judge = make_judge("helpfulness", model=fleet.frontier)
    policy = make_policy("auto", models=[fleet.small, fleet.mid])
    policy.rules.update(strategy=Strategy.PARALLEL, pick=Pick.FIRST_VALID)
    (without,) = review_draft(policy).worst_cases
    policy.rules.update(pick=Pick.JUDGE, judge=judge)

    review = review_draft(policy)

    assert review.findings == ()
    assert review.worst_cases[0].attempts == without.attempts + 1
    assert review.worst_cases[0].cost_nanos > without.cost_nanos
