"""What a model's row says of it, applied to what it is told. Pure, and the same for every wire format."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec.structs import replace

from dispatch_app.execution.canonical import Operation, Request
from dispatch_app.providers.adapter import dropped_for
from dispatch_app.providers.efforts import budget_of, effort_of, has_budget
from dispatch_app.providers.fragments import conversation_for
from policies_app.routing.codes import ReasoningControl, RefusedParameter
from policies_app.routing.quirks import Quirks
from policies_app.routing.types import Candidate

LEAST_BUDGET_TOKENS = 1_024
"""The smallest budget that vendors take. It has to leave room for the answer, so what is smaller is none."""
_MOST_SHARE_PCT = 80
_SAMPLING = ("temperature", "top_p", "top_k")
_REASONING = ("reasoning_effort", "thinking")
_OF_CIRCUMSTANCES = frozenset(
    {RefusedParameter.TOP_P_BESIDE_TEMPERATURE, RefusedParameter.SAMPLING_WHILE_REASONING}
)
"""What is refused only beside something else."""
_NAMES: Mapping[RefusedParameter, tuple[str, ...]] = {
    **dict.fromkeys(_OF_CIRCUMSTANCES, ()),
    RefusedParameter.REASONING: _REASONING,
    RefusedParameter.UNKNOWN_FIELDS: (),
}
"""The canonical fields behind a refused parameter, where it is not one by itself."""
_CANONICAL = frozenset(
    {
        *_SAMPLING,
        *_REASONING,
        "messages",
        "input",
        "dimensions",
        "n",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "modalities",
        "functions",
        "function_call",
    }
)

_encode = msgspec.json.Encoder().encode


def adapted(request: Request, candidate: Candidate) -> Request:
    """The request as the candidate's model takes it."""
    quirks = candidate.model.quirks
    if not quirks.alter_requests:
        return request
    absent = _names_of(quirks.refused_parameters).union(_left_out(request, candidate))
    fields = {name: value for name, value in request.fields.items() if name not in absent}
    if request.operation is Operation.EMBEDDINGS:
        return replace(request, fields=fields)
    fields["messages"] = conversation_for(quirks, fields["messages"])
    extras = {name: value for name, value in request.extras.items() if name not in absent}
    return replace(request, fields=_reasoning(fields, candidate), extras=extras)


def dropped(request: Request, candidate: Candidate) -> tuple[str, ...]:
    """Names of what the caller asked for and the candidate's model is not told, or not as it was asked for.

    It would refuse that, or is told something else in any case, as its row says; or its vendor's format has no words.
    """
    model, quirks = candidate.model, candidate.model.quirks
    if not (quirks.alter_requests or quirks.fixed_parameters):
        return dropped_for(model, request)
    names = (
        *_left_out(request, candidate),
        *_overridden(request, quirks),
        *_cut_short(request, candidate),
        *dropped_for(model, adapted(request, candidate)),
    )
    return tuple(dict.fromkeys(names))


def _left_out(request: Request, candidate: Candidate) -> tuple[str, ...]:
    refused = candidate.model.quirks.refused_parameters
    names = _names_of(refused)
    asked = {name: value for name, value in request.fields.items() if value is not None}
    if not _has_room_to_think(asked, candidate):
        names |= {*_REASONING}
    if not refused.isdisjoint(_OF_CIRCUMSTANCES):
        names |= _refused_for_what_else_is_asked(asked, names, refused)
    if RefusedParameter.UNKNOWN_FIELDS in refused:
        names |= (asked.keys() | request.extras.keys()) - _CANONICAL
    return tuple(name for name in (*asked, *request.extras) if name in names)


def _cut_short(request: Request, candidate: Candidate) -> tuple[str, ...]:
    """An effort that becomes a budget, and is beyond the highest that has one."""
    effort = request.fields.get("reasoning_effort")
    if effort is None or candidate.model.quirks.reasoning_control is not ReasoningControl.BUDGET:
        return ()
    match request.fields.get("thinking"):
        case {"type": "enabled" | "disabled"}:
            return ()
        case _:
            return () if has_budget(effort) else ("reasoning_effort",)


@cache
def _names_of(refused: frozenset[RefusedParameter]) -> frozenset[str]:
    """The names of the fields that are refused in any case."""
    return frozenset(name for parameter in refused for name in _NAMES.get(parameter, (parameter.value,)))


def _refused_for_what_else_is_asked(
    asked: Mapping[str, Any], names: frozenset[str], refused: frozenset[RefusedParameter]
) -> set[str]:
    """The names of the fields that are refused beside others, which are asked for and not refused themselves."""
    kept = asked.keys() - names
    found: set[str] = set()
    if RefusedParameter.SAMPLING_WHILE_REASONING in refused and _asks_to_think(asked, kept):
        found |= {*_SAMPLING}
    if RefusedParameter.TOP_P_BESIDE_TEMPERATURE in refused and "temperature" in kept - found:
        found.add("top_p")
    return found


def encoded(fields: Mapping[str, Any], quirks: Quirks) -> bytes:
    """A request in its vendor's words as JSON, with the parameters that the model's row fixes."""
    return _encode(_merged(fields, quirks.fixed_parameters) if quirks.fixed_parameters else fields)


def _overridden(request: Request, quirks: Quirks) -> Iterator[str]:
    """Names of the fields that are fixed. Vendors spell them in their own ways, and have them at other depths."""
    if not quirks.fixed_parameters:
        return
    names = {_squeezed(name) for name in _names(quirks.fixed_parameters)}
    for name, value in request.fields.items():
        if value is not None and _squeezed(name) in names:
            yield name


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from value
        for inner in value.values():
            yield from _names(inner)


def _squeezed(name: str) -> str:
    return name.replace("_", "").lower()


def _merged(told: Any, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """As RFC 7396 says: objects are merged, null takes away, anything else replaces."""
    merged = dict(told) if isinstance(told, Mapping) else {}
    for name, value in fixed.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            merged[name] = _merged(merged.get(name), value)
        else:
            merged[name] = value
    return merged


def _asks_to_think(fields: Mapping[str, Any], kept: set[str]) -> bool:
    match fields.get("thinking") if "thinking" in kept else None:
        case None | {"type": "disabled"}:
            return "reasoning_effort" in kept and fields["reasoning_effort"] != "none"
        case _:
            return True


def _reasoning(fields: dict[str, Any], candidate: Candidate) -> dict[str, Any]:
    """The fields, with how much to think in the terms in which the model takes it."""
    thinking, effort = fields.get("thinking"), fields.get("reasoning_effort")
    others = {name: value for name, value in fields.items() if name not in _REASONING}
    settings = thinking if isinstance(thinking, Mapping) else {}
    settings = {name: value for name, value in settings.items() if name not in {"type", "budget_tokens"}}
    match candidate.model.quirks.reasoning_control, thinking:
        case ReasoningControl.EFFORT, {"type": "enabled", "budget_tokens": tokens}:
            told = {"thinking": {**settings, "type": "adaptive"}} if settings else {}
            return others | told | {"reasoning_effort": effort or effort_of(tokens)}
        case ReasoningControl.BUDGET, _ if budget := _budget(fields, candidate.output_tokens_limit):
            return others | {"thinking": {**settings, "type": "enabled", "budget_tokens": budget}}
        case _:
            return fields


def _budget(fields: Mapping[str, Any], output_tokens_limit: int) -> int | None:
    """The tokens of thinking that a request asks for and its limit has room for; None if it leaves that to the model, or asks for none.

    An effort takes so much of the limit that an answer still fits into it.
    """
    match fields.get("thinking"), fields.get("reasoning_effort"):
        case {"type": "enabled", "budget_tokens": int(tokens)}, _:
            return min(tokens, output_tokens_limit - 1)
        case ({"type": "disabled"}, _) | (None, None) | (_, "none"):
            return None
        case _, effort:
            most = output_tokens_limit * _MOST_SHARE_PCT // 100
            return max(LEAST_BUDGET_TOKENS, min(budget_of(effort), most))


def _has_room_to_think(fields: Mapping[str, Any], candidate: Candidate) -> bool:
    """Whether a budget fits into the output limit, for a model that takes a budget only."""
    if candidate.model.quirks.reasoning_control is not ReasoningControl.BUDGET:
        return True
    limit = candidate.output_tokens_limit
    return _budget(fields, limit) is None or limit > LEAST_BUDGET_TOKENS
