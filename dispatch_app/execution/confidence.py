"""How sure a model was of its answer, by the log-probabilities that came with it. Pure.

The mean is the inverse of the answer's perplexity (the geometric mean of its tokens' probabilities), the minimum its least
sure token, the margin the mean lead of the chosen token over the next likely one.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import msgspec
from msgspec.structs import replace

from dispatch_app.execution.canonical import Reply, Request
from policies_app.routing.codes import LogprobMeasure

TOP_LOGPROBS = 2
"""How many likely tokens the margin needs: the chosen one and its rival."""


class _Rival(msgspec.Struct):
    token: str
    logprob: float


class _Token(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[_Rival] = []


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


def confidence(reply: Reply, measure: LogprobMeasure) -> float | None:
    """A figure from 0 to 1 for the whole reply; None if it came without usable log-probabilities."""
    tokens = list(_tokens(reply))
    if not tokens:
        return None
    figure = _FIGURES[measure](tokens)
    return figure if math.isfinite(figure) else None


def asking_for_logprobs(request: Request, *, rivals: int) -> Request:
    """The same request, which brings log-probabilities with its answer, and those of so many likely tokens."""
    top = max(rivals, request.fields.get("top_logprobs") or 0)
    fields = {**request.fields, "logprobs": True} | ({"top_logprobs": top} if top else {})
    return replace(request, fields=fields)


def _tokens(reply: Reply) -> Iterator[_Token]:
    for choice in reply.choices:
        try:
            yield from msgspec.convert(choice.logprobs or {}, _Logprobs).content or ()
        except msgspec.ValidationError:
            return


def _lead(token: _Token) -> float:
    """How much likelier the token was than its best rival; nothing if it was not the likeliest."""
    rivals = [rival.logprob for rival in token.top_logprobs if rival.token != token.token]
    chance = _chance(token)
    # Without a rival among the likely tokens, all that is left could be one.
    best = math.exp(min(max(rivals), 0.0)) if rivals else 1.0 - chance
    return max(0.0, chance - best)


def _chance(token: _Token) -> float:
    return math.exp(min(token.logprob, 0.0))


def _mean(tokens: list[_Token]) -> float:
    return math.exp(sum(min(token.logprob, 0.0) for token in tokens) / len(tokens))


def _minimum(tokens: list[_Token]) -> float:
    return min(_chance(token) for token in tokens)


def _margin(tokens: list[_Token]) -> float:
    return sum(_lead(token) for token in tokens) / len(tokens)


_FIGURES: Mapping[LogprobMeasure, Callable[[list[_Token]], float]] = {
    LogprobMeasure.MEAN: _mean,
    LogprobMeasure.MINIMUM: _minimum,
    LogprobMeasure.MARGIN: _margin,
}
