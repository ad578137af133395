"""Published prices beside those in force, taken over without losing what somebody meant."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from django.db import connection
from django.utils import timezone

from policies_app.models import AuditEntry, Model, Price
from policies_app.price_catalogue.types import PublishedModel
from policies_app.services.price_gaps import count_unpriced, find_price_gaps
from policies_app.services.price_imports import (
    Comparison,
    HandMadePriceError,
    PriceMovedError,
    PriceNotPublishedError,
    Standing,
    compare_with_catalogue,
    import_price,
)
from policies_app.services.prices import PriceExistsError, set_price
from tests.factories import (
    USD,
    make_judge,
    make_model,
    make_policy,
    make_price,
    make_provider,
    make_published_policy,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def openai():
    return make_provider("openai", base_url="https://api.openai.com/v1", allow_private_network=False)


@pytest.fixture
def gpt(openai) -> Model:
    return make_model("gpt-5-mini", provider=openai, input_nanos=None)


def compared(model: Model, **options) -> Comparison:
    (comparison,) = compare_with_catalogue([model], **options)
    return comparison


def taken(model: Model, **options) -> Price:
    price = import_price(comparison=compared(model), author_name="mia", **options)
    assert price is not None
    return price


def test_a_model_without_a_price_gets_the_published_one_from_now_on(gpt):
    before = timezone.now()

    price = taken(gpt, reason="contract")

    published = compared(gpt).published
    assert isinstance(published, PublishedModel)
    assert {name: getattr(price, name) for name, _ in published.amounts} == dict(published.amounts)
    assert before <= price.effective_from <= timezone.now()
    assert price.source == published.source
    assert price.note.startswith("As openai/gpt-5-mini.")
    entry = AuditEntry.objects.get(subject_type="price")
    assert (entry.author_name, entry.reason, entry.after["source"]) == ("mia", "contract", published.source)


def test_what_is_in_force_already_is_not_added_again(gpt):
    taken(gpt)

    assert compared(gpt).standing is Standing.SAME
    assert import_price(comparison=compared(gpt), author_name="mia") is None
    assert Price.objects.count() == 1


def test_an_older_import_is_followed_by_a_new_one_and_stays(gpt):
    old = set_price(model=gpt, input_nanos=1, output_nanos=2, source="genai-prices 0.0.1", author_name="mia")

    assert compared(gpt).standing is Standing.DIFFERS
    new = taken(gpt)

    assert list(gpt.prices.order_by("effective_from")) == [old, new]
    assert Price.objects.filter(model=gpt).in_force(at=timezone.now()).get() == new


def test_a_price_made_by_hand_is_kept_unless_somebody_says_otherwise(gpt):
    own = set_price(model=gpt, input_nanos=1, output_nanos=2, author_name="mia")
    assert compared(gpt).standing is Standing.HAND_MADE

    with pytest.raises(HandMadePriceError, match="made by hand"):
        import_price(comparison=compared(gpt), author_name="mia")
    assert list(gpt.prices.all()) == [own]

    assert taken(gpt, replace_hand_made=True).source


def test_a_price_made_by_hand_that_says_the_same_wants_nothing(gpt):
    price = taken(gpt)
    Price.objects.filter(pk=price.pk).update(source="")

    assert compared(gpt).standing is Standing.SAME


def test_what_the_catalogue_does_not_know_is_left_alone(openai):
    own = make_model("my-own", provider=openai)

    assert compared(own).standing is Standing.UNKNOWN
    with pytest.raises(PriceNotPublishedError, match="knows no my-own of OpenAI"):
        import_price(comparison=compared(own), author_name="mia", replace_hand_made=True)


def test_nothing_is_taken_over_what_came_meanwhile(gpt):
    seen = compared(gpt)
    set_price(model=gpt, input_nanos=1, output_nanos=2, author_name="noah")

    with pytest.raises(PriceMovedError):
        import_price(comparison=seen, author_name="mia", replace_hand_made=True)


def test_a_price_may_begin_later(gpt):
    first_of_may = datetime(2027, 5, 1, tzinfo=UTC)
    own = set_price(model=gpt, input_nanos=1, output_nanos=2, author_name="mia")
    later = set_price(
        model=gpt,
        input_nanos=3,
        output_nanos=4,
        effective_from=first_of_may,
        source="list",
        author_name="mia",
    )

    # In force on that day is what somebody scheduled for it, and not what is in force now.
    comparison = compared(gpt, effective_from=first_of_may)
    assert (comparison.in_force, comparison.standing) == (later, Standing.DIFFERS)
    with pytest.raises(PriceExistsError):
        import_price(comparison=comparison, author_name="mia")
    price = import_price(
        comparison=compared(gpt, effective_from=first_of_may + timedelta(days=1)), author_name="mia"
    )

    assert price is not None
    assert price.effective_from == first_of_may + timedelta(days=1)
    assert Price.objects.filter(model=gpt).in_force(at=timezone.now()).get() == own


def test_models_without_a_price_in_force_are_found_with_who_names_them(openai):
    bare = make_model("gpt-5-mini", provider=openai, input_nanos=None)
    unknown = make_model("my-own", provider=openai, input_nanos=None)
    make_price(unknown, input_nanos=1, output_nanos=1, effective_from=timezone.now() + timedelta(days=1))
    make_model("off", provider=openai, input_nanos=None, enabled=False)
    make_model("orphan", provider=make_provider(enabled=False), input_nanos=None)
    make_model("priced", provider=openai)
    priced = make_model("spare", provider=make_provider())
    live = make_published_policy("live", models=[priced])
    live.rules.get().steps.update(model=bare)  # a draft that was edited since
    make_policy("sketch", models=[bare])
    make_judge("helpful", model=unknown)

    gaps = find_price_gaps()

    assert count_unpriced() == 2
    assert {gap.comparison.model.name: gap.named_by for gap in gaps.unpriced} == {
        "gpt-5-mini": ("live / default (draft)", "sketch / default (draft)"),
        "my-own": ("judge helpful",),
    }
    assert [gap.comparison.standing for gap in gaps.unpriced] == [Standing.UNPRICED, Standing.UNKNOWN]


def test_a_live_rule_that_names_a_model_without_a_price_is_told_once(openai):
    model = make_model("gpt-5-mini", provider=openai)
    make_published_policy("auto", models=[model])
    model.prices.all().delete()

    (gap,) = find_price_gaps().unpriced

    assert gap.named_by == ("auto / default",)


def test_prices_that_are_not_the_catalogue_s_are_found(openai):
    make_model("gpt-5-mini", provider=openai, input_nanos=7 * USD)
    same = make_model("gpt-5", provider=openai, input_nanos=None)
    import_price(comparison=compared(same), author_name="mia")
    make_model("my-own", provider=openai)

    (differing,) = find_price_gaps().differing

    assert (differing.model.name, differing.standing) == ("gpt-5-mini", Standing.HAND_MADE)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_take_it_at_once_one_does(gpt):
    seen = compared(gpt)
    together = Barrier(4)

    def take(_number: int) -> bool:
        try:
            together.wait()
            return import_price(comparison=seen, author_name="mia") is not None
        except PriceMovedError:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as people:
        assert sorted(people.map(take, range(4))) == [False, False, False, True]
    assert gpt.prices.count() == 1
