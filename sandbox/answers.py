"""What a model says: right as often as its accuracy promises, and surer of itself when it is right."""

import re
from dataclasses import dataclass

from sandbox.chance import draw, pick
from sandbox.fleet import VendorModel

CAPITALS = {
    "argentina": "Buenos Aires",
    "australia": "Canberra",
    "brazil": "Brasília",
    "canada": "Ottawa",
    "egypt": "Cairo",
    "france": "Paris",
    "germany": "Berlin",
    "india": "New Delhi",
    "japan": "Tokyo",
    "kenya": "Nairobi",
    "norway": "Oslo",
    "peru": "Lima",
    "poland": "Warsaw",
    "spain": "Madrid",
    "turkey": "Ankara",
}

_SUM = re.compile(
    r"(?:what(?:'s| is)|calculate|compute|how much is)\s+(\d{1,9})\s*([-+*x])\s*(\d{1,9})", re.IGNORECASE
)
_CAPITAL = re.compile(r"capital of (?:the )?(\w+)", re.IGNORECASE)
_LENGTH = re.compile(r"\b(\d{1,5}) words\b", re.IGNORECASE)

_SENTENCES = (
    "The short version is that it depends on the load, the budget and the people involved.",
    "A good first step is to measure what happens today, before anything is changed.",
    "Three causes explain most of it: unclear ownership, late feedback and too many moving parts.",
    "In practice a small, reversible change teaches more than a long plan.",
    "It helps to write down who decides, and by when.",
    "The trade-off is between speed now and room for change later.",
    "Where the figures disagree, trust the ones that can be reproduced.",
    "Finally, agree on how success will be recognised, and look again in two weeks.",
)
_EVASIONS = (
    "I am not sure about this; there may be several ways to look at it.",
    "That is hard to say without knowing more.",
    "Opinions differ, and I cannot settle it here.",
    "It could be one thing or another; perhaps ask somebody closer to it.",
)
_USUAL_WORDS = 45
_QUOTED_WORDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A model's reply, whether it is right, and how sure the model is (0 to 1)."""

    text: str
    right: bool
    confidence: float


def compose_answer(*, model: VendorModel, question: str, fingerprint: str, sample: int = 0) -> Answer:
    """Answer a question: the same model, prompt and sample always give the same answer."""
    key = (model.name, fingerprint, sample)
    right = draw("right", *key) < model.accuracy
    text = (right_answer(question) or _paragraph(question, key)) if right else _wrong_answer(question, key)
    return Answer(text=text, right=right, confidence=_confidence(draw("confidence", *key), right=right))


def right_answer(question: str) -> str | None:
    """Return the one right answer to a sum or a question of fact, None for any other question."""
    if found := _SUM.search(question):
        return str(_calculate(found))
    if (found := _CAPITAL.search(question)) and (capital := CAPITALS.get(found[1].lower())):
        return _capital_sentence(found[1], capital)
    return None


def _wrong_answer(question: str, key: tuple[str, str, int]) -> str:
    if found := _SUM.search(question):
        return str(_calculate(found) + 1 + int(draw("slip", *key) * 9))
    if (found := _CAPITAL.search(question)) and found[1].lower() in CAPITALS:
        others = [city for country, city in CAPITALS.items() if country != found[1].lower()]
        return _capital_sentence(found[1], pick(others, "capital", *key))
    return pick(_EVASIONS, "evasion", *key)


def _calculate(found: re.Match[str]) -> int:
    left, right = int(found[1]), int(found[3])
    match found[2]:
        case "+":
            return left + right
        case "-":
            return left - right
        case _:
            return left * right


def _capital_sentence(country: str, capital: str) -> str:
    return f"The capital of {country.capitalize()} is {capital}."


def _paragraph(question: str, key: tuple[str, str, int]) -> str:
    asked = _LENGTH.search(question)
    length = int(asked[1]) if asked else _USUAL_WORDS
    opening = f"You asked: “{' '.join(question.split()[:_QUOTED_WORDS])}”."
    words = opening.split()
    while len(words) < length:
        words += pick(_SENTENCES, "sentence", len(words), *key).split()
    return " ".join(words[:length]) if asked else " ".join(words)


def _confidence(chance: float, *, right: bool) -> float:
    # The two ranges overlap a little: a threshold on confidence finds most mistakes, never all.
    return 0.72 + 0.27 * chance if right else 0.35 + 0.45 * chance
