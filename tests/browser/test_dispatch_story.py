"""A dispatch's page says in words what was decided and what became of it, for every strategy, as it really went."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from policies_app.models import Validator
from policies_app.routing.codes import Pick, Strategy
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.browser.conftest import PHONE, assert_fits_the_width
from tests.factories import make_judge, make_policy, make_rule
from tests.personas import make_finance
from tests.running_servers import RunningGateway, Shop, dispatch_rows, open_shop, publish

pytestmark = pytest.mark.django_db(transaction=True)

REFUSES = Fault(kind=FaultKind.CONTENT, content="I'm sorry, but I can't say.")
FAILS = Fault(kind=FaultKind.STATUS, status=500)
SLOW = Fault(delay_ms=1_500)
BREAKS_OFF = Fault(kind=FaultKind.CUT, after_bytes=700)


@dataclass(frozen=True, kw_only=True)
class Course:
    """A rule over two models, what befalls whom at the first call, and what the page must say."""

    strategy: Strategy
    route: dict[str, Any] = field(default_factory=dict)
    validators: tuple[dict[str, Any], ...] = ()
    models: tuple[str, ...] = ("small", "frontier")
    faults: dict[str, Fault] = field(default_factory=dict)
    stream: bool = False
    decided: str
    happened: tuple[str, ...]


COURSES = {
    "failover": Course(
        strategy=Strategy.FAILOVER,
        faults={"sandbox-small": FAILS},
        decided="small is first",
        happened=(
            "small failed with a server error (HTTP 500)",
            "frontier was asked instead and answered.",
        ),
    ),
    "retry": Course(
        strategy=Strategy.SINGLE,
        models=("small",),
        faults={"sandbox-small": FAILS},
        decided="small is first",
        happened=("small failed with a server error (HTTP 500)", "small was asked once more and answered."),
    ),
    "continuation": Course(
        strategy=Strategy.FAILOVER,
        route={"continue_broken_streams": True},
        faults={"sandbox-small": BREAKS_OFF},
        stream=True,
        decided="small is first",
        happened=("small broke off", "frontier was handed the broken stream to carry on and answered."),
    ),
    "cascade": Course(
        strategy=Strategy.CASCADE,
        validators=({"kind": "not_refused"},),
        faults={"sandbox-small": REFUSES},
        decided="small is first, its answer must pass 1 check, else frontier",
        happened=(
            (
                "small answered, but its answer was not accepted: it was expected that the answer is no refusal, "
                "but it begins like a refusal."
            ),
            "So it was escalated to frontier, which answered, and its answer passed 1 check: the answer is no refusal.",
            "went to attempts that did not give the answer.",
        ),
    ),
    "an exhausted cascade": Course(
        strategy=Strategy.CASCADE,
        validators=({"kind": "not_refused"},),
        faults={"sandbox-small": REFUSES, "sandbox-frontier": REFUSES},
        decided="If none passes, the last answer is given, marked as not validated.",
        happened=(
            "So it was escalated to frontier, which answered, but its answer was not accepted",
            "No answer passed, so that of frontier was given, marked as not validated.",
        ),
    ),
    "a cascade by samples": Course(
        strategy=Strategy.CASCADE,
        route={"max_attempts": 6},
        validators=({"kind": "agreement", "samples": 3, "at_least": 2},),
        faults={"sandbox-small": REFUSES},
        decided="small is first",
        happened=(
            "small answered, but its answer was not accepted: it was expected that at least 2 of 3 samples agree, but 1 agree.",
            "To compare, small was asked for 2 more answers, for $",
            "So it was escalated to frontier, which answered, and its answer passed 1 check",
        ),
    ),
    "a cascade by a judge": Course(
        strategy=Strategy.CASCADE,
        validators=({"kind": "judge", "at_least": 0.7},),
        faults={"sandbox-mid": Fault(kind=FaultKind.CONTENT, content="2")},
        decided="small is first",
        happened=(
            "it was expected that judge helpfulness v1 gives at least 0.7, but it gives 0.20.",
            "mid was asked as the judge, for $",
            "So it was escalated to frontier, which answered",
        ),
    ),
    "parallel": Course(
        strategy=Strategy.PARALLEL,
        route={"pick": Pick.FIRST_VALID},
        faults={"sandbox-frontier": SLOW},
        decided="small and frontier are asked at once, the first answer is taken",
        happened=(
            "small and frontier were asked at once.",
            "frontier was stopped, because another answer was taken",
            "The answer of small was picked: the first valid answer is picked, and it was number 1 to come.",
        ),
    ),
    "parallel by a judge": Course(
        strategy=Strategy.PARALLEL,
        route={"pick": Pick.JUDGE},
        faults={"sandbox-mid": Fault(kind=FaultKind.CONTENT, content="B")},
        decided="judge helpfulness v1 picks",
        happened=(
            "small and frontier were asked at once.",
            "mid was asked as the judge, for $",
            "The judge picked the answer of ",
        ),
    ),
    "hedged": Course(
        strategy=Strategy.HEDGED,
        route={"hedge_delay_ms": 60},
        faults={"sandbox-small": SLOW},
        decided="small is first, hedged: frontier is asked too if small is silent for",
        happened=(
            "so frontier was asked too.",
            "frontier was the first to answer.",
            "small was stopped, at a cost of $",
        ),
    ),
}


@pytest.mark.parametrize("name", COURSES)
def test_the_page_tells_the_course_that_a_dispatch_took(
    vendor: SandboxServer,
    gateway: RunningGateway,
    sign_in: Callable[..., None],
    open_page: Callable[..., Page],
    name: str,
) -> None:
    course = COURSES[name]
    shop = open_shop(vendor)
    _serve(shop, gateway, course)
    if course.strategy is Strategy.HEDGED:
        for _ in range(20):
            _ask(gateway, shop)
    for model, fault in course.faults.items():
        vendor.script(fault, model=model, times=1)
    _ask(gateway, shop, stream=course.stream)

    sign_in(make_finance())
    page = open_page(f"/costs/dispatches/{dispatch_rows()[-1]['id']}/")
    expect(page.locator(".reason")).to_contain_text(course.decided)
    story = page.get_by_role("heading", name="What happened").locator("+ ol")
    for sentence in course.happened:
        expect(story).to_contain_text(sentence)
    narrow = open_page(page.url, viewport=PHONE, color_scheme="dark")
    assert_fits_the_width(narrow)


def _serve(shop: Shop, gateway: RunningGateway, course: Course) -> None:
    policy = make_policy("wise")
    judge = make_judge("helpfulness", model=shop.fleet.mid)
    by_judge = course.route.get("pick") is Pick.JUDGE
    rule = make_rule(
        policy,
        "default",
        models=[getattr(shop.fleet, name) for name in course.models],
        strategy=course.strategy,
        is_default=True,
        judge=judge if by_judge else None,
        **course.route,
    )
    for columns in course.validators:
        judging = {"judge": judge} if columns["kind"] == "judge" else {}
        Validator.objects.create(rule=rule, **columns, **judging)
    publish(policy)
    gateway.catch_up()


def _ask(gateway: RunningGateway, shop: Shop, *, stream: bool = False) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answer = gateway.client(shop.key).chat.completions.create(
        model="wise", messages=question, max_tokens=40, stream=stream
    )
    if stream:
        assert list(answer)
