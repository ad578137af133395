"""Requests for embeddings at the edge: what is read of them, and that no usage costs more than is reserved."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.execution.canonical import Reply
from dispatch_app.execution.shrinking import Room, shrunk
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.openai_embeddings import (
    MOST_TOKEN_IDS,
    VECTORS_A_TURN,
    parse_embeddings,
    render_embeddings,
)
from policies_app.routing.codes import Capability, WireFeature
from policies_app.routing.money import bound_nanos, cost_nanos
from policies_app.routing.types import Candidate, Price, Usage
from tests.policies_app.routing.builders import a_model, a_price, some_facts

TOKENS_AROUND_A_TEXT = 8

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=60)
ids = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30)
inputs = st.one_of(texts, ids, st.lists(texts, min_size=1, max_size=8), st.lists(ids, min_size=1, max_size=8))
prices = st.builds(
    lambda amounts: a_price(1, **amounts),
    st.fixed_dictionaries(
        {
            name: st.integers(0, 10**10)
            for name in ("input_nanos", "cached_input_nanos", "cache_write_nanos", "output_nanos")
        }
    ),
)
MODEL = a_model("embedder", capabilities=frozenset({Capability.EMBEDDINGS}), max_output_tokens=1)


def parse(**fields: Any) -> Any:
    return parse_embeddings(json.dumps({"model": "embed"} | fields).encode())


def most_tokens(told: Any) -> int:
    """As many as any vendor could count: a token a byte, and a few around each text."""
    if isinstance(told, str):
        return len(told.encode()) + TOKENS_AROUND_A_TEXT
    if isinstance(told[0], int):
        return len(told)
    return sum(map(most_tokens, told))


@given(inputs, prices)
def test_no_usage_costs_more_than_is_reserved(told: Any, price: Price) -> None:
    prompt = parse(input=told)
    facts = some_facts(input_tokens_bound=prompt.input_tokens_bound, needs=prompt.needs)

    bound = bound_nanos(facts=facts, model=MODEL, price=price, output_tokens_limit=0)

    assert cost_nanos(usage=Usage(input_tokens=most_tokens(told)), price=price) <= bound
    assert prompt.longest_input_tokens <= prompt.input_tokens <= prompt.input_tokens_bound


@given(inputs, st.text(st.characters(categories=["L", "N", "Zs"]), max_size=200))
def test_what_a_vendor_may_put_before_each_text_is_reserved(told: Any, instruction: str) -> None:
    """Servers of this format have fields of their own, such as an instruction that each text is prefixed with."""
    plain, prefixed = parse(input=told), parse(input=told, instruction=instruction)

    added = prefixed.input_tokens_bound - plain.input_tokens_bound
    assert added >= prefixed.inputs * len(instruction.encode())
    assert parse(input=told, dimensions=64).input_tokens_bound == plain.input_tokens_bound


@given(inputs, prices, st.integers(0, 10**9))
def test_what_a_budget_does_not_cover_is_not_shrunk(told: Any, price: Price, left_nanos: int) -> None:
    """There is no output that could be asked for less of."""
    prompt = parse(input=told)
    facts = some_facts(input_tokens_bound=prompt.input_tokens_bound, needs=prompt.needs)
    bound = bound_nanos(facts=facts, model=MODEL, price=price, output_tokens_limit=0)
    candidate = Candidate(model=MODEL, price=price, output_tokens_limit=0, bound_nanos=bound, timeout_ms=None)

    smaller = shrunk(candidate, facts=facts, rooms=[Room(left_nanos=left_nanos, least_output_tokens=1)])

    assert smaller is (candidate if bound <= left_nanos else None)


@pytest.mark.parametrize(
    ("told", "canonical"),
    [
        ("text", ["text"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_the_input_is_a_list_in_any_case(told: Any, canonical: list[Any]) -> None:
    prompt = parse(input=told, dimensions=None)

    assert prompt.request.fields["input"] == canonical
    assert prompt.inputs == len(canonical)
    assert (WireFeature.TOKENIZED_INPUT in prompt.features) is isinstance(canonical[0], list)
    assert WireFeature.EMBEDDING_DIMENSIONS not in prompt.features


@pytest.mark.parametrize(
    "told", [True, 5, None, {}, [None], [True], ["a", 1], [1, "a"], [[1], "a"], [["a"]], [2**31]]
)
def test_anything_else_is_no_input(told: Any) -> None:
    with pytest.raises(RequestError) as refused:
        parse(input=told)

    assert (refused.value.param or "").startswith("input")


def test_more_token_ids_than_any_vendor_takes_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(RequestError):
        parse(input=[[1] * 1_000] * (MOST_TOKEN_IDS // 1_000 + 5))


async def test_others_have_their_turn_while_many_vectors_are_written() -> None:
    vectors = [[float(place), 0.5] for place in range(5 * VECTORS_A_TURN)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    body = await render_embeddings(
        reply=Reply(
            model="embed", choices=[], usage=None, wire_status=200, first_byte_at=0.0, vectors=vectors
        ),
        model="embed",
        input_tokens=1,
        details=None,
        prompt=parse(input=["a"] * len(vectors), encoding_format="float"),
    )
    running.cancel()

    assert turns >= 5
    told = json.loads(body)["data"]
    assert [item["embedding"] for item in told] == vectors
    assert [item["index"] for item in told] == list(range(len(vectors)))
