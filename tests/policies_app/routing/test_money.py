import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies_app.routing.codes import RefusedParameter
from policies_app.routing.money import affordable_output_tokens, bound_nanos, bound_tokens, cost_nanos
from policies_app.routing.quirks import Quirks
from policies_app.routing.types import Price, Usage
from tests.policies_app.routing.builders import LONG_AGO, USD, a_model, a_price, some_facts

amounts = st.integers(min_value=0, max_value=10**13)
tokens = st.integers(min_value=0, max_value=10**7)
prices = st.builds(
    Price,
    id=st.just(1),
    effective_from=st.just(LONG_AGO),
    input_nanos=amounts,
    cached_input_nanos=amounts,
    cache_write_nanos=amounts,
    output_nanos=amounts,
    reasoning_nanos=amounts,
)
usages = st.builds(
    Usage,
    input_tokens=tokens,
    cached_input_tokens=tokens,
    cache_write_tokens=tokens,
    output_tokens=tokens,
    reasoning_tokens=tokens,
)

fragments = st.builds(Quirks, system_prefix=st.text(), system_suffix=st.text())


def test_each_bucket_is_paid_at_its_own_price() -> None:
    price = a_price(
        input_nanos=USD,
        cached_input_nanos=USD // 10,
        cache_write_nanos=2 * USD,
        output_nanos=4 * USD,
        reasoning_nanos=8 * USD,
    )
    usage = Usage(
        input_tokens=1000,
        cached_input_tokens=10_000,
        cache_write_tokens=100,
        output_tokens=50,
        reasoning_tokens=25,
    )

    # 1 USD per million tokens is 1,000 nano-dollars a token.
    assert cost_nanos(usage=usage, price=price) == 1_000_000 + 1_000_000 + 200_000 + 200_000 + 200_000


def test_a_fraction_of_a_nano_dollar_is_rounded_up_once() -> None:
    price = a_price(input_nanos=1, cached_input_nanos=1, output_nanos=1)

    # Three buckets of a millionth each are one rounding, not three.
    assert cost_nanos(usage=Usage(input_tokens=1, cached_input_tokens=1, output_tokens=1), price=price) == 1
    assert cost_nanos(usage=Usage(input_tokens=1_000_000), price=price) == 1
    assert cost_nanos(usage=Usage(input_tokens=1_000_001), price=price) == 2


def test_no_tokens_cost_nothing() -> None:
    assert cost_nanos(usage=Usage(), price=a_price()) == 0


def test_the_bound_counts_images_choices_and_the_dearest_bucket() -> None:
    price = a_price(input_nanos=USD, cache_write_nanos=2 * USD, output_nanos=4 * USD, reasoning_nanos=5 * USD)
    facts = some_facts(input_tokens=1, input_tokens_bound=1_000, images=2, choices=3)
    model = a_model(image_tokens_bound=500)

    bound = bound_nanos(facts=facts, model=model, price=price, output_tokens_limit=100)

    assert bound == (1_000 + 2 * 500) * 2_000 + 3 * 100 * 5_000


@pytest.mark.parametrize(
    ("quirks", "added"),
    [
        (Quirks(), 0),
        # No token is shorter than a byte; a message of their own has a frame.
        (Quirks(system_prefix="Grüß Gott", system_suffix="/no_think"), 20 + 11 + 9),
        # What parameters make a vendor add to the prompt is reckoned as for tools.
        (Quirks(fixed_parameters={"min_p": 1}), 1_024 + 12),
        # What is left out adds nothing.
        (Quirks(refused_parameters=frozenset(RefusedParameter), thinks_unasked=True), 0),
    ],
)
def test_what_a_models_row_adds_to_a_prompt_is_in_its_bounds(quirks: Quirks, added: int) -> None:
    facts, model = some_facts(input_tokens_bound=1_000, images=2), a_model(quirks=quirks)
    price = a_price(input_nanos=USD, cached_input_nanos=0, cache_write_nanos=0)

    assert bound_tokens(facts=facts, model=model, output_tokens_limit=7) == (2_000 + added, 7)
    bound = bound_nanos(facts=facts, model=model, price=price, output_tokens_limit=0)
    assert bound == (2_000 + added) * 1_000
    assert affordable_output_tokens(facts=facts, model=model, price=price, nanos=bound) == 0


@given(usage=usages, price=prices, data=st.data())
def test_cost_is_a_whole_number_that_never_falls_as_tokens_grow(
    usage: Usage, price: Price, data: st.DataObject
) -> None:
    more = Usage(
        **{
            bucket: getattr(usage, bucket) + data.draw(st.integers(0, 1000))
            for bucket in Usage.__struct_fields__
        }
    )

    assert type(cost_nanos(usage=usage, price=price)) is int
    assert cost_nanos(usage=usage, price=price) <= cost_nanos(usage=more, price=price)


@given(price=prices, usage=usages, images=st.integers(0, 5), choices=st.integers(1, 8), quirks=fragments)
def test_no_usage_within_the_bounds_costs_more_than_the_bound(
    price: Price, usage: Usage, images: int, choices: int, quirks: Quirks
) -> None:
    used_input = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens
    used_output = usage.output_tokens + usage.reasoning_tokens
    model = a_model(image_tokens_bound=1_000, quirks=quirks)
    text_tokens = max(0, used_input - images * model.image_tokens_bound - quirks.input_tokens_bound)
    facts = some_facts(input_tokens_bound=text_tokens, images=images, choices=choices)

    bound = bound_nanos(facts=facts, model=model, price=price, output_tokens_limit=-(-used_output // choices))

    assert cost_nanos(usage=usage, price=price) <= bound


@given(
    price=prices,
    nanos=st.integers(0, 10**15),
    images=st.integers(0, 5),
    choices=st.integers(1, 8),
    quirks=fragments,
)
def test_what_is_affordable_is_bounded_by_the_money_and_one_token_more_is_not(
    price: Price, nanos: int, images: int, choices: int, quirks: Quirks
) -> None:
    model, facts = a_model(quirks=quirks), some_facts(images=images, choices=choices)

    limit = affordable_output_tokens(facts=facts, model=model, price=price, nanos=nanos)

    if limit is None:
        assert price.output_nanos == price.reasoning_nanos == 0
        return
    for tokens, is_covered in ((limit, True), (limit + 1, False)):
        if tokens >= 0:
            bound = bound_nanos(facts=facts, model=model, price=price, output_tokens_limit=tokens)
            assert (bound <= nanos) is is_covered
