"""Ops staff at work on a policy, with a mouse and a keyboard."""

import pytest
from playwright.sync_api import Page, expect

from policies_app.models import Policy
from policies_app.services.publishing import publish_policy
from tests.browser.conftest import PHONE, assert_fits_the_width, assert_no_cell_is_cut
from tests.factories import make_fleet, make_policy, make_rule
from tests.personas import make_ops

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def policy(transactional_db: None) -> Policy:
    fleet = make_fleet()
    policy = make_policy("auto", models=[fleet.small])
    make_rule(policy, "code", models=[fleet.mid, fleet.frontier], tasks=["code"], position=1)
    publish_policy(policy=policy, author_name="test", note="first")
    return policy


@pytest.fixture
def page(policy, sign_in, open_page) -> Page:
    sign_in(make_ops())
    return open_page(f"/admin/policies_app/policy/{policy.pk}/change/")


def test_ops_edit_the_steps_of_a_rule_publish_and_the_version_is_live(page: Page, policy: Policy):
    page.get_by_role("link", name="code", exact=True).click()
    page.locator("label:has(#id_steps-1-DELETE)").click()
    page.locator("#id_tasks").fill("code\nreview")
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto(f"/admin/policies_app/policy/{policy.pk}/change/")
    expect(page.get_by_text("differs from v1")).to_be_visible()

    page.locator("a[href$='/publish/']").click()
    expect(page.get_by_text("taken when task is one of code, review; was when task is code")).to_be_visible()
    expect(page.get_by_text("failover over mid; was failover over mid, then frontier")).to_be_visible()
    page.get_by_label("Note").fill("frontier was too dear")
    page.get_by_role("button", name="Publish auto").click()

    expect(page.get_by_text("auto v2 is live.")).to_be_visible()
    policy.refresh_from_db()
    assert (policy.live_version.number, policy.live_version.note) == (2, "frontier was too dear")


def test_a_rule_is_dragged_to_the_front(page: Page, policy: Policy):
    make_rule(
        policy, "later", models=[policy.rules.get(is_default=True).steps.get().model], tasks=["x"], position=2
    )
    page.reload()
    handles = page.locator("#rules-group .cursor-move, #rules-group [x-sort\\:handle]")

    handles.nth(1).drag_to(handles.nth(0), target_position={"x": 5, "y": 0})
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/policy/")

    assert [rule.name for rule in policy.rules.order_by("position")] == ["later", "code", "default"]


def test_a_policy_that_does_not_verify_cannot_be_published_and_the_page_says_which_rule_and_why(
    page: Page, policy: Policy
):
    policy.rules.filter(name="code").update(allow_dearer_fallback=False)

    page.locator("a[href$='/publish/']").click()

    expect(page.get_by_text("This draft cannot be published")).to_be_visible()
    expect(
        page.get_by_text("“frontier” can cost more than “mid”, the first step of rule “code”")
    ).to_be_visible()
    expect(page.get_by_role("button", name="Publish auto")).to_have_count(0)


def test_ops_roll_back_after_a_comparison(page: Page, policy: Policy):
    policy.rules.get(name="code").delete()
    publish_policy(policy=policy, author_name="test")
    page.reload()

    page.get_by_role("link", name="Roll back").click()
    page.get_by_label("Version").select_option(label="auto v1")
    page.get_by_role("button", name="Compare with what is live").click()
    expect(page.get_by_text("Rule code: added")).to_be_visible()
    page.get_by_role("button", name="Roll back to v1").click()

    expect(page.get_by_text("auto v3 is live.")).to_be_visible()


def test_pages_fit_a_phone(policy: Policy, sign_in, open_page):
    Policy.objects.filter(pk=policy.pk).update(description="A text that takes more than one line. " * 4)
    sign_in(make_ops())
    page = open_page("/admin/", viewport=PHONE)
    assert_fits_the_width(page)

    for address in (
        "policy/",
        f"policy/{policy.pk}/change/",
        f"policy/{policy.pk}/publish/",
        f"rule/{policy.rules.get(name='code').pk}/change/",
        "killswitch/add/",
    ):
        page.goto(f"/admin/policies_app/{address}")
        assert_fits_the_width(page)
        assert_no_cell_is_cut(page)
