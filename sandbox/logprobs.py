"""How sure a model is of each of its tokens, as OpenAI writes it down."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.chance import draw

LEAST_LOGPROB = -9999.0
"""What OpenAI reports for a token that is too unlikely for a figure."""

_RIVALS = (" the", " a", " it", ".", " and", " of", " to", ",", " is", " that")
_HALF = math.log(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """A model's confidence (0 to 1) in a text; scripted figures, the last for all that follow, go before it."""

    confidence: float
    logprobs: tuple[float, ...] = ()
    margins: tuple[float, ...] = ()

    def logprob(self, position: int, token: str) -> float:
        """Return the log-probability of the token at a position."""
        if self.logprobs:
            return _at(self.logprobs, position)
        return math.log(self.confidence) * (0.5 + draw("token", self.confidence, position, token))

    def rivals(self, position: int, token: str) -> Iterator[tuple[str, float]]:
        """Yield the tokens that were not chosen, likeliest first, each half as likely as the one before it."""
        logprob = self.logprob(position, token)
        best = logprob - _at(self.margins, position) if self.margins else _log(1 - math.exp(logprob)) - _HALF
        others = (text for text in _RIVALS if text != token)
        for rank, text in enumerate(others):
            yield text, max(best - rank * _HALF, LEAST_LOGPROB)


def render_logprobs(
    certainty: Certainty, tokens: Sequence[str], *, position: int, top_logprobs: int
) -> list[dict[str, Any]]:
    """Return the entries of tokens, the first of which stands at a position, with so many likely tokens each."""
    return [
        _render_entry(certainty, place, token, top_logprobs) for place, token in enumerate(tokens, position)
    ]


def _render_entry(certainty: Certainty, position: int, token: str, top_logprobs: int) -> dict[str, Any]:
    chosen = (token, certainty.logprob(position, token))
    ranked = sorted([chosen, *certainty.rivals(position, token)], key=lambda pair: -pair[1])
    return {**_render(*chosen), "top_logprobs": [_render(*pair) for pair in ranked[:top_logprobs]]}


def _render(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _at(figures: tuple[float, ...], position: int) -> float:
    return figures[min(position, len(figures) - 1)]


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else LEAST_LOGPROB
