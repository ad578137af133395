"""A fleet without prices, from the hint on the first page to the last price."""

import pytest
from playwright.sync_api import expect

from policies_app.price_catalogue.lookup import SOURCE
from policies_app.services.prices import set_price
from tests.browser.conftest import DESKTOP, PHONE, assert_fits_the_width
from tests.factories import make_model, make_policy, make_provider
from tests.personas import make_ops

pytestmark = pytest.mark.django_db(transaction=True)

GAPS = "/admin/prices/"


@pytest.fixture
def fleet():
    openai = make_provider("openai", base_url="https://api.openai.com/v1")
    bedrock = make_provider(
        "bedrock",
        base_url="https://bedrock-runtime.eu-central-1.amazonaws.com",
        wire_format="bedrock_converse",
    )
    gpt = make_model("gpt-5-mini", provider=openai, input_nanos=None)
    sol = make_model("gpt-6-sol", provider=openai, input_nanos=None)
    profile = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
    claude = make_model("claude-eu", provider=bedrock, wire_name=profile, input_nanos=None)
    make_model("in-house", provider=make_provider("in-house"), input_nanos=None)
    make_policy("auto", models=[gpt, claude])
    set_price(model=sol, input_nanos=10**9, output_nanos=3 * 10**9, author_name="mia")
    return gpt, sol, claude


def test_a_price_is_taken_from_the_page_that_lists_what_lacks_one(sign_in, open_page, fleet):
    gpt, sol, _ = fleet
    sign_in(make_ops())
    page = open_page("/admin/")

    page.locator("#unpriced-hint").get_by_role("link", name="look at the prices").click()
    row = page.locator("#unpriced li", has_text="gpt-5-mini")
    expect(row).to_contain_text("Named by auto / default (draft).")
    row.get_by_role("link", name="Take the price").click()
    expect(page.locator("#buckets")).to_contain_text("$0.25")
    page.get_by_role("button", name="Take it, from now on").click()

    expect(page.get_by_text("From now on: gpt-5-mini")).to_be_visible()
    assert gpt.prices.get().source == SOURCE

    page.goto(GAPS)
    page.locator("#differing li", has_text="gpt-6-sol").get_by_role("link", name="Compare").click()
    page.get_by_role("button", name="Take it, from now on").click()
    # The browser itself asks for the switch that says a price made by hand may be replaced.
    assert sol.prices.count() == 1
    page.get_by_label("Replace the price that was made by hand").check()
    page.get_by_role("button", name="Take it, from now on").click()
    expect(page.get_by_text("From now on: gpt-6-sol")).to_be_visible()
    assert sol.prices.count() == 2


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_the_pages_fit_a_desk_and_a_phone(sign_in, open_page, fleet, viewport):
    _, sol, claude = fleet
    sign_in(make_ops())
    pages = [f"/admin/policies_app/model/{model.pk}/price-from-catalogue/" for model in (sol, claude)]

    for path in (GAPS, *pages):
        assert_fits_the_width(open_page(path, viewport=viewport))
