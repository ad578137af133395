"""Ops staff build every strategy with a mouse and a keyboard, and publish it. Nobody writes JSON."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from policies_app.models import Judge, Policy, Rule
from policies_app.routing.codes import LatencyMeasure, LogprobMeasure, Pick, Strategy, WhenNonePasses
from policies_app.routing.conditions import LatencyAbove, ShareOf
from policies_app.routing.document import RuleDocument, load
from policies_app.routing.validators import JudgedAtLeast, JudgeReference, LogprobAtLeast, NotRefused
from policies_app.services.publishing import publish_policy
from tests.browser.conftest import PHONE, assert_fits_the_width
from tests.factories import Fleet, make_fleet, make_judge, make_policy, make_rule
from tests.personas import make_ops

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def fleet(transactional_db: None) -> Fleet:
    return make_fleet()


@pytest.fixture
def policy(fleet: Fleet) -> Policy:
    policy = make_policy("auto", models=[fleet.small])
    publish_policy(policy=policy, author_name="test", note="first")
    return policy


@pytest.fixture
def page(policy: Policy, sign_in, open_page) -> Page:
    """The page of a rule to be, reached from its policy."""
    sign_in(make_ops())
    page = open_page(f"/admin/policies_app/policy/{policy.pk}/change/")
    page.get_by_role("link", name="Add a rule").click()
    field(page, "name").fill("new")
    field(page, "tasks").fill("code")
    return page


def field(page: Page, name: str) -> Locator:
    return page.locator(f"#id_{name}")


def search_for(page: Page, name: str, text: str) -> None:
    """Choose from a list that is searched as one types."""
    page.locator(f"#id_{name} + .select2").click()
    page.locator(".select2-search__field").last.fill(text)
    page.locator(".select2-results__option", has_text=text).first.click()


def add_row(page: Page, group: str) -> None:
    page.locator(f"#{group}-group .add-row").click()


def add_steps(page: Page, *models: str) -> None:
    for place, model in enumerate(models):
        add_row(page, "steps")
        search_for(page, f"steps-{place}-model", model)


def add_of_kind(page: Page, group: str, kind: str) -> Callable[[str], Locator]:
    """Add a condition or a validator; returns how to find its fields."""
    place = page.locator(f"#{group}-group .form-group:not(.empty-form)").count()
    add_row(page, group)
    field(page, f"{group}-{place}-kind").select_option(kind)
    return lambda name: field(page, f"{group}-{place}-{name}")


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/rule/")


def publish(page: Page, policy: Policy, *changes: str) -> RuleDocument:
    """Publish the draft after a look at what that changes; returns what the version says of the new rule."""
    page.goto(f"/admin/policies_app/policy/{policy.pk}/publish/")
    for change in changes:
        expect(page.get_by_text(change)).to_be_visible()
    page.get_by_role("button", name="Publish auto").click()
    expect(page.get_by_text("auto v2 is live.")).to_be_visible()
    policy.refresh_from_db()
    assert policy.live_version is not None
    return load(policy.live_version.document).rules[0]


def test_ops_build_a_cascade_with_validators(page: Page, policy: Policy):
    field(page, "strategy").select_option(Strategy.CASCADE)
    field(page, "when_none_passes").select_option(WhenNonePasses.FAIL)
    field(page, "max_cost_nanos").fill("2.5")
    add_steps(page, "small", "frontier")
    sure = add_of_kind(page, "validators", "logprob")
    sure("measure").select_option(LogprobMeasure.MEAN)
    sure("at_least").fill("0.8")
    add_of_kind(page, "validators", "not_refused")
    save(page)

    rule = publish(page, policy, "cascade over small", "if none passes, it fails")

    assert rule.route.strategy is Strategy.CASCADE
    assert rule.route.when_none_passes is WhenNonePasses.FAIL
    assert rule.route.max_cost_nanos == 2_500_000_000
    assert [step.model for step in rule.route.steps] == ["small", "frontier"]
    assert rule.route.steps[0].validators == (
        LogprobAtLeast(measure=LogprobMeasure.MEAN, at_least=0.8),
        NotRefused(),
    )


def test_ops_make_a_judge_and_a_parallel_rule_that_it_picks_in(page: Page, policy: Policy):
    page.once("dialog", lambda dialog: dialog.accept())  # what stands in the rule's form is not saved
    page.goto("/admin/policies_app/judge/add/")
    field(page, "name").fill("helpfulness")
    field(page, "model").select_option(label="mid")
    page.get_by_label("Rubric").fill("10: right and complete. 0: wrong.")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("helpfulness v1 is the newest")).to_be_visible()

    page.goto(f"/admin/policies_app/rule/add/?policy={policy.pk}")
    field(page, "name").fill("new")
    field(page, "tasks").fill("code")
    field(page, "strategy").select_option(Strategy.PARALLEL)
    expect(field(page, "judge")).to_be_hidden()
    field(page, "pick").select_option(Pick.JUDGE)
    expect(field(page, "judge")).to_be_visible()
    field(page, "judge").select_option(label="helpfulness")
    field(page, "patience_ms").fill("3000")
    field(page, "max_attempts").fill("4")
    field(page, "allow_dearer_fallback").check()
    add_steps(page, "small", "frontier")
    kind = add_of_kind(page, "validators", "judge")
    kind("judge").select_option(label="helpfulness")
    kind("at_least").fill("0.5")
    save(page)

    route = publish(page, policy, "judge helpfulness v1 picks").route

    reference = JudgeReference(name="helpfulness", version=1)
    assert (route.strategy, route.pick, route.judge) == (Strategy.PARALLEL, Pick.JUDGE, reference)
    assert route.patience_ms == 3_000
    assert route.steps[0].validators == (JudgedAtLeast(judge=reference, at_least=0.5),)


def test_ops_build_a_hedged_rule(page: Page, policy: Policy):
    field(page, "strategy").select_option(Strategy.HEDGED)
    field(page, "hedge_delay_ms").fill("400")
    add_steps(page, "mid", "small")
    save(page)

    rule = publish(page, policy, "hedged over mid, then small", "0.4 s at least")

    assert (rule.route.strategy, rule.route.hedge_delay_ms) == (Strategy.HEDGED, 400)


def test_ops_send_traffic_elsewhere_while_a_model_is_slow(page: Page, policy: Policy):
    slow = add_of_kind(page, "conditions", "latency")
    search_for(page, "conditions-0-model", "mid")
    slow("measure").select_option(LatencyMeasure.FIRST_BYTE)
    slow("percentile").select_option("95")
    slow("above_ms").fill("2000")
    field(page, "strategy").select_option(Strategy.SINGLE)
    add_steps(page, "small")
    save(page)

    rule = publish(page, policy, "p95 of the first byte of mid over 300 s is above 2000 ms")

    assert rule.conditions[1] == LatencyAbove(
        model="mid", measure=LatencyMeasure.FIRST_BYTE, percentile=95, above_ms=2_000
    )


def test_ops_give_a_share_of_the_traffic_to_a_canary(page: Page, policy: Policy):
    share = add_of_kind(page, "conditions", "share")
    share("name").fill("canary")
    share("percent").fill("2.5")
    field(page, "strategy").select_option(Strategy.SINGLE)
    add_steps(page, "mid")
    save(page)

    rule = publish(page, policy, "the request is in the 2.5 % share canary")

    assert rule.conditions[1] == ShareOf(name="canary", percent=2.5)


def test_only_the_fields_of_what_is_chosen_are_shown(page: Page, policy: Policy):
    condition = add_of_kind(page, "conditions", "share")
    expect(condition("percent")).to_be_visible()
    expect(condition("starts")).to_be_hidden()
    condition("kind").select_option("time")
    expect(condition("percent")).to_be_hidden()
    expect(condition("starts")).to_be_visible()

    for strategy, shown in (
        (Strategy.SINGLE, set()),
        (Strategy.FAILOVER, {"allow_dearer_fallback"}),
        (Strategy.CASCADE, {"when_none_passes"}),
        (Strategy.PARALLEL, {"allow_dearer_fallback", "when_none_passes", "pick", "patience_ms"}),
        (Strategy.HEDGED, {"allow_dearer_fallback", "hedge_delay_ms"}),
    ):
        field(page, "strategy").select_option(strategy)
        for name in ("allow_dearer_fallback", "when_none_passes", "pick", "patience_ms", "hedge_delay_ms"):
            label = page.locator(f"label[for=id_{name}]").first
            expect(label).to_be_visible(visible=name in shown)


def test_a_wrong_figure_is_refused_at_its_field(page: Page, policy: Policy):
    share = add_of_kind(page, "conditions", "share")
    share("name").fill("canary")
    share("percent").fill("120")
    add_steps(page, "mid")

    page.get_by_role("button", name="Save", exact=True).click()

    line = page.locator(".field-line:has(#id_conditions-0-percent)")
    expect(line.get_by_text("Must be a number above 0, at most 100.")).to_be_visible()
    expect(field(page, "conditions-0-starts")).to_be_hidden()
    assert not Rule.objects.filter(name="new").exists()


def test_without_its_script_the_page_shows_all_fields_and_a_row_can_be_changed(
    policy: Policy, fleet: Fleet, sign_in, open_page
):
    rule = make_rule(policy, "code", models=[fleet.mid], position=1)
    rule.conditions.create(kind="share", name="canary", percent=5)
    sign_in(make_ops())
    page = open_page()
    page.route("**/kinds*.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.goto(f"/admin/policies_app/rule/{rule.pk}/change/")

    expect(field(page, "conditions-0-starts")).to_be_visible()
    expect(field(page, "hedge_delay_ms")).to_be_visible()
    field(page, "conditions-0-percent").fill("10")
    save(page)

    assert rule.conditions.get().percent == 10


def test_pages_with_rows_of_many_kinds_fit_a_phone(policy: Policy, fleet: Fleet, sign_in, open_page):
    judge: Judge = make_judge("helpfulness", model=fleet.mid, versions=2)
    rule = make_rule(policy, "code", models=[fleet.small, fleet.mid], position=1, strategy=Strategy.CASCADE)
    rule.conditions.create(kind="time", weekdays=["monday"], starts="09:00", ends="17:00", zone="UTC")
    rule.validators.create(kind="judge", judge=judge, at_least=0.5)
    sign_in(make_ops())
    page = open_page(viewport=PHONE)

    for address in (f"rule/{rule.pk}/change/", f"judge/{judge.pk}/change/", "judge/", "qualityscore/add/"):
        page.goto(f"/admin/policies_app/{address}")
        assert_fits_the_width(page)
