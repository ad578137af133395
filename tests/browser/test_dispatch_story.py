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


@dataclass(frozen=True, kw_only=True)
class Course:
    """A rule over small and frontier, what befalls whom, and what the page must say."""

    strategy: Strategy
    route: dict[str, Any] = field(default_factory=dict)
    validators: tuple[str, ...] = ()
    faults: dict[str, Fault] = field(default_factory=dict)
    decided: str
    happened: tuple[str, ...]


COURSES = {
    "failover": Course(
        strategy=Strategy.FAILOVER,
        faults={"sandbox-small": FAILS},
        decided="small is first",
        happened=("small ended in server error.", "frontier was asked instead and answered."),
    ),
    "cascade": Course(
        strategy=Strategy.CASCADE,
        validators=("not_refused",),
        faults={"sandbox-small": REFUSES},
        decided="small is first",
        happened=(
            "small answered, but its answer was not accepted: it was expected that the answer is no refusal, but it begins like a refusal.",
            "So it was escalated to frontier, which answered, and its answer passed 1 check.",
        ),
    ),
    "parallel": Course(
        strategy=Strategy.PARALLEL,
        route={"pick": Pick.FIRST_VALID},
        faults={"sandbox-frontier": SLOW},
        decided="at once",
        happened=(
            "small and frontier were asked at once.",
            "small answered; it was picked: the first valid answer is picked, and it was number 1 to come.",
            "frontier was stopped, because another answer had won",
            "The answer is that of small.",
        ),
    ),
    "judge": Course(
        strategy=Strategy.PARALLEL,
        route={"pick": Pick.JUDGE},
        decided="judge helpfulness v1 picks",
        happened=("small and frontier were asked at once.", "the judge picks", "mid judged, for $"),
    ),
    "hedged": Course(
        strategy=Strategy.HEDGED,
        route={"hedge_delay_ms": 60},
        faults={"sandbox-small": SLOW},
        decided="small is first",
        happened=(
            "small was stopped, because another answer had won",
            "As nothing had come by then, frontier was asked too and answered.",
            "The answer is that of frontier.",
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
        vendor.script(fault, model=model)
    if name == "judge":
        vendor.script(Fault(kind=FaultKind.CONTENT, content="B"), model="sandbox-mid")

    _ask(gateway, shop)

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
    judge = (
        make_judge("helpfulness", model=shop.fleet.mid) if course.route.get("pick") is Pick.JUDGE else None
    )
    rule = make_rule(
        policy,
        "default",
        models=[shop.fleet.small, shop.fleet.frontier],
        strategy=course.strategy,
        is_default=True,
        judge=judge,
        **course.route,
    )
    for kind in course.validators:
        Validator.objects.create(rule=rule, kind=kind)
    publish(policy)
    gateway.catch_up()


def _ask(gateway: RunningGateway, shop: Shop) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    gateway.client(shop.key).chat.completions.create(model="wise", messages=question, max_tokens=40)
