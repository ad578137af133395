import re

import pytest

from policies_app.models import Price
from policies_app.price_catalogue.lookup import SOURCE
from policies_app.services.price_imports import compare_with_catalogue, import_price
from policies_app.services.prices import set_price
from tests.factories import make_model, make_policy, make_provider

pytestmark = pytest.mark.django_db
GAPS = "/admin/prices/"


@pytest.fixture
def openai():
    return make_provider("openai", base_url="https://api.openai.com/v1")


@pytest.fixture
def gpt(openai):
    return make_model("gpt-5-mini", provider=openai, input_nanos=None)


def address(model):
    return f"/admin/policies_app/model/{model.pk}/price-from-catalogue/"


def confirm(client, model, **fields):
    """Send what the page that is shown would send."""
    page = client.get(address(model)).content.decode()
    shown = re.search(r'name="shown" value="([^"]*)"', page)[1]
    return client.post(address(model), {"shown": shown, "reason": "list of November"} | fields)


def shown(client, path):
    return " ".join(re.sub(r"<[^>]+>", " ", client.get(path).content.decode()).split())


def test_what_would_change_is_shown_before_it_does(ops, gpt):
    page = shown(ops, address(gpt))

    assert f"openai/gpt-5-mini in {SOURCE}" in page
    assert "Input — $0.25 Cached input — $0.025 Cache write — $0.25 Output — $2.00 Reasoning — $2.00" in page
    assert not Price.objects.exists()

    answer = confirm(ops, gpt)

    assert answer.status_code == 302
    price = gpt.prices.get()
    assert (price.source, price.input_nanos) == (SOURCE, 250_000_000)
    assert "From now on: gpt-5-mini" in shown(ops, answer["Location"])


def test_a_price_made_by_hand_is_replaced_only_by_who_says_so(ops, gpt):
    own = set_price(model=gpt, input_nanos=10**9, output_nanos=10**9, author_name="mia")
    assert "made by hand" in shown(ops, address(gpt))

    refused = confirm(ops, gpt)
    assert refused.status_code == 200
    assert "This field is required." in refused.content.decode()
    assert list(gpt.prices.all()) == [own]

    assert confirm(ops, gpt, replace_hand_made="on").status_code == 302
    assert gpt.prices.count() == 2


def test_what_came_meanwhile_is_shown_before_it_is_replaced(ops, gpt):
    page = ops.get(address(gpt)).content.decode()
    stale = re.search(r'name="shown" value="([^"]*)"', page)[1]
    set_price(model=gpt, input_nanos=10**9, output_nanos=10**9, author_name="mia")

    answer = ops.post(address(gpt), {"shown": stale, "replace_hand_made": "on"})

    assert "The price has changed meanwhile: look again before you take it." in answer.content.decode()
    assert gpt.prices.count() == 1
    # The page that came shows the new one, so confirming that one is meant.
    fresh = re.search(r'name="shown" value="([^"]*)"', answer.content.decode())[1]
    assert ops.post(address(gpt), {"shown": fresh, "replace_hand_made": "on"}).status_code == 302
    assert gpt.prices.count() == 2


def test_what_is_not_known_is_refused_politely(ops, openai):
    own = make_model("my-own", provider=openai, input_nanos=None)

    page = shown(ops, address(own))

    assert "The catalogue knows no my-own of OpenAI." in page
    assert "Add a price" in page
    assert "Take it" not in page
    assert confirm(ops, own).status_code == 302
    assert not Price.objects.exists()


def test_a_price_that_is_the_same_leaves_nothing_to_do(ops, gpt):
    confirm(ops, gpt)

    page = shown(ops, address(gpt))

    assert "Its price in force is the same." in page
    assert "Take it" not in page


def test_only_who_may_add_prices_takes_one_over(finance, gpt):
    assert finance.get(address(gpt)).status_code == 403
    assert finance.post(address(gpt), {}).status_code == 403


def test_the_page_names_what_is_never_called_and_who_would_call_it(ops, finance, openai, gpt):
    make_model("my-own", provider=openai, input_nanos=None)
    make_policy("auto", models=[gpt])

    page = shown(ops, GAPS)

    assert "gpt-5-mini (openai, gpt-5-mini) Named by auto / default (draft)." in page
    assert "$0.25 / $2.00, as openai/gpt-5-mini. Take the price" in page
    assert "No rule and no judge names it. The catalogue knows no my-own of OpenAI. Add a price" in page
    looked_at = shown(finance, GAPS)
    assert "gpt-5-mini (openai, gpt-5-mini)" in looked_at
    assert "Take the price" not in looked_at


def test_the_page_names_prices_that_are_not_the_catalogue_s(ops, gpt):
    set_price(model=gpt, input_nanos=10**9, output_nanos=3 * 10**9, author_name="mia")

    page = shown(ops, GAPS)

    assert "Every model that is on has a price in force." in page
    assert re.search(
        r"gpt-5-mini \$1.00 / \$3.00, made by hand on .*: \$0.25 / \$2.00, as openai/gpt-5-mini", page
    )


def test_the_count_stands_in_the_sidebar_and_on_the_first_page_until_it_is_zero(ops, gpt):
    page = shown(ops, "/admin/")
    assert "Prices to look at 1" in page
    assert "1 model is never called, for want of a price: look at the prices ." in page

    confirm(ops, gpt)

    page = shown(ops, "/admin/")
    assert "Prices to look at" in page
    assert "Prices to look at 1" not in page
    assert "never called" not in page


def test_where_a_price_comes_from_stands_beside_it(ops, gpt):
    set_price(model=gpt, input_nanos=1, output_nanos=1, author_name="mia", note="contract 7")
    (comparison,) = compare_with_catalogue([gpt])
    taken = import_price(comparison=comparison, author_name="mia", replace_hand_made=True)
    by_hand = gpt.prices.earliest("id")

    assert "by hand" in shown(ops, f"/admin/policies_app/price/{by_hand.pk}/change/")
    assert "contract 7" in shown(ops, f"/admin/policies_app/price/{by_hand.pk}/change/")
    assert "As openai/gpt-5-mini." in shown(ops, f"/admin/policies_app/price/{taken.pk}/change/")
    for path in ("/admin/policies_app/price/", f"/admin/policies_app/model/{gpt.pk}/change/"):
        assert SOURCE in shown(ops, path)
        assert "by hand" in shown(ops, path)


def test_the_page_takes_as_many_queries_for_many_models_as_for_few(
    ops, openai, django_assert_max_num_queries
):
    ops.get(GAPS)
    for number in range(20):
        make_model(f"own-{number}", provider=openai, input_nanos=None)

    with django_assert_max_num_queries(12):
        ops.get(GAPS)
