"""The models are as good as they claim, the same every time, and surer when they are right."""

import json
from decimal import Decimal
from pathlib import Path
from statistics import mean

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sandbox.fleet
from sandbox.answers import Answer, compose_answer, right_answer
from sandbox.fleet import FLEET, VendorModel
from sandbox.specimens import fit_schema
from sandbox.tokens import count_tokens, split_tokens


def _ask(model: VendorModel, samples: int = 1_000) -> list[Answer]:
    return [
        compose_answer(model=model, question=f"What is {number} * 7?", fingerprint=str(number))
        for number in range(samples)
    ]


@pytest.mark.parametrize("model", FLEET.values(), ids=FLEET)
def test_a_model_is_right_as_often_as_it_claims(model: VendorModel):
    share = mean(answer.right for answer in _ask(model))

    assert share == pytest.approx(model.accuracy, abs=0.04)


@pytest.mark.parametrize("model", FLEET.values(), ids=FLEET)
def test_right_means_that_the_text_is_right(model: VendorModel):
    for number, answer in enumerate(_ask(model)):
        assert (answer.text == str(number * 7)) == answer.right


def test_dearer_models_are_better_and_slower():
    models = list(FLEET.values())

    for attribute in ("accuracy", "first_token_ms", "per_token_ms"):
        figures = [getattr(model, attribute) for model in models]
        assert figures == sorted(set(figures))
    assert [model.price.output_nanos for model in models] == sorted(
        model.price.output_nanos for model in models
    )


@pytest.mark.parametrize("model", FLEET.values(), ids=FLEET)
def test_confidence_tells_most_right_answers_from_wrong_ones(model: VendorModel):
    answers = _ask(model, samples=2_000)

    assert all(answer.confidence >= 0.72 for answer in answers if answer.right)
    mistakes = [answer for answer in answers if not answer.right]
    found = [answer for answer in mistakes if answer.confidence < 0.72]
    assert 0.6 < len(found) / len(mistakes) < 1


def test_the_same_question_gets_the_same_answer():
    assert _ask(FLEET["sandbox-small"]) == _ask(FLEET["sandbox-small"])


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 12 * 7?", "84"),
        ("Calculate 3 - 10, please", "-7"),
        ("what's 2+2", "4"),
        ("Tell me the capital of japan.", "The capital of Japan is Tokyo."),
        ("The capital of Atlantis?", None),
        ("Between 2026-11-16 and today", None),
        ("", None),
    ],
)
def test_questions_with_one_right_answer_are_known(question: str, answer: str | None):
    assert right_answer(question) == answer


def test_a_paragraph_is_as_long_as_asked():
    answer = compose_answer(
        model=FLEET["sandbox-frontier"], question="Write 200 words on rain", fingerprint="rain"
    )

    assert answer.right
    assert len(answer.text.split()) == 200


@given(st.text())
def test_tokens_join_to_their_text(text: str):
    tokens = split_tokens(text)

    assert "".join(tokens) == text
    assert len(tokens) == count_tokens(text) <= len(text)


_ANSWER = Answer(text="Forty-two.", right=True, confidence=0.9)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 30}}, "required": ["a"]},
        {"type": "array", "items": {"type": "integer", "minimum": 5}, "minItems": 3},
        {"type": "integer", "exclusiveMinimum": 1, "maximum": 9},
        {"type": "number", "maximum": 0.5},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "string", "maxLength": 3},
        {"type": "string", "enum": ["b", "a"]},
        {"const": {"x": 1}},
        {"type": ["null", "string"]},
        {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
        {"allOf": [{"type": "integer"}, {"minimum": 4}]},
        {
            "$ref": "#/$defs/node",
            "$defs": {"node": {"type": "object", "properties": {"n": {"type": "null"}}}},
        },
        {"type": "string", "format": "date-time"},
        {},
    ],
    ids=json.dumps,
)
def test_a_specimen_fits_its_schema(schema: dict):
    jsonschema.validate(fit_schema(schema, answer=_ANSWER), schema)


def test_a_schema_without_end_is_cut_short():
    node = {"type": "object", "properties": {"next": {"$ref": "#"}}}

    assert json.dumps(fit_schema(node, answer=_ANSWER)).count("next") <= 20


@pytest.mark.parametrize("model", FLEET.values(), ids=FLEET)
def test_the_readme_states_the_figures_of_the_fleet(model: VendorModel):
    nanos = (model.price.input_nanos, model.price.cached_input_nanos, model.price.output_nanos)
    prices = [Decimal(price) / 10**9 for price in nanos]
    readme = (Path(sandbox.fleet.__file__).parent / "README.md").read_text()
    [row] = [line for line in readme.splitlines() if line.startswith(f"| `{model.name}`")]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]

    assert [Decimal(cell) for cell in cells[:3]] == prices
    assert cells[3:] == [
        f"{model.first_token_ms} ms",
        f"{model.per_token_ms} ms",
        f"{model.accuracy:.0%}".replace("%", " %"),
    ]
