import pytest

from policies_app.models import Price
from policies_app.price_catalogue.lookup import SOURCE
from policies_app.services.prices import set_price
from tests.factories import make_model, make_provider

pytestmark = pytest.mark.django_db
URL = "/api/v1/models/gpt-5-mini/price-from-catalogue/"


@pytest.fixture
def gpt():
    provider = make_provider("openai", base_url="https://api.openai.com/v1")
    return make_model("gpt-5-mini", provider=provider, input_nanos=None)


def test_the_published_price_is_told_and_nothing_changes(finance, gpt):
    answer = finance.get(URL)

    told = answer.json()
    assert answer.status_code == 200
    assert (told["standing"], told["in_force"], told["reason"]) == ("unpriced", None, "")
    assert (told["published"]["vendor"], told["published"]["model_id"]) == ("openai", "gpt-5-mini")
    assert (told["published"]["input_nanos"], told["published"]["source"]) == (250_000_000, SOURCE)
    assert not Price.objects.exists()


def test_the_published_price_is_taken_once(ops, gpt):
    taken = ops.post(URL, {"reason": "list"}, format="json")
    again = ops.post(URL, {}, format="json")

    assert (taken.status_code, again.status_code) == (201, 200)
    assert taken.json() == again.json()
    assert (taken.json()["source"], taken.json()["input_nanos"]) == (SOURCE, 250_000_000)
    assert gpt.prices.count() == 1
    assert ops.get(URL).json()["standing"] == "same"


def test_a_price_made_by_hand_is_replaced_only_if_that_is_said(ops, gpt):
    set_price(model=gpt, input_nanos=1, output_nanos=2, author_name="mia")

    refused = ops.post(URL, {}, format="json")
    assert refused.status_code == 409
    assert "made by hand" in refused.json()["detail"]
    assert ops.get(URL).json()["in_force"]["source"] == ""

    assert ops.post(URL, {"replace_hand_made": True}, format="json").status_code == 201


def test_what_the_catalogue_does_not_know_is_a_conflict_with_its_reason(ops, gpt):
    make_model("my-own", provider=gpt.provider)

    told = ops.get("/api/v1/models/my-own/price-from-catalogue/").json()
    refused = ops.post("/api/v1/models/my-own/price-from-catalogue/", {}, format="json")

    assert (told["standing"], told["published"]) == ("unknown", None)
    assert told["reason"] == "The catalogue knows no my-own of OpenAI."
    assert (refused.status_code, refused.json()) == (409, {"detail": told["reason"]})


def test_a_day_and_a_vendor_may_be_named(ops):
    proxy = make_provider("proxy", base_url="https://llm.example.com/v1")
    make_model("gpt-5-mini", provider=proxy, input_nanos=None)

    answer = ops.post(URL, {"effective_from": "2031-02-03T00:00:00Z", "vendor": "openai"}, format="json")

    assert answer.status_code == 201
    assert answer.json()["effective_from"].startswith("2031-02-03T00:00:00")


@pytest.mark.parametrize(
    "body", [{"effective_from": "soon"}, {"replace": True}, {"replace_hand_made": "perhaps"}]
)
def test_a_bad_body_is_refused_at_its_field(ops, gpt, body):
    answer = ops.post(URL, body, format="json")

    assert (answer.status_code, list(answer.json())) == (400, list(body))


def test_finance_may_look_but_not_take(finance, gpt):
    assert finance.post(URL, {}, format="json").status_code == 403


def test_models_without_a_price_are_listed(ops, gpt):
    make_model("priced", provider=gpt.provider)

    def names(priced):
        return [model["name"] for model in ops.get(f"/api/v1/models/?priced={priced}").json()["results"]]

    assert (names("false"), names("true")) == (["gpt-5-mini"], ["priced"])


def test_a_note_is_kept_with_a_price_and_its_source_is_not_the_caller_s_to_say(ops, gpt):
    answer = ops.post(
        "/api/v1/prices/",
        {
            "model": "gpt-5-mini",
            "input_nanos": 1,
            "cached_input_nanos": 1,
            "cache_write_nanos": 1,
            "output_nanos": 1,
            "reasoning_nanos": 1,
            "note": "contract 7",
            "source": "genai-prices 9",
        },
        format="json",
    )

    assert answer.status_code == 201
    assert (answer.json()["note"], answer.json()["source"]) == ("contract 7", "")
