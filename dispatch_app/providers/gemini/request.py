"""The canonical request in Gemini's words."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from dispatch_app.execution.canonical import Request
from dispatch_app.providers.adapter import Built, Prepared, Provider, not_carried
from dispatch_app.providers.efforts import budget_of, has_budget
from dispatch_app.providers.gemini.conversation import conversation_of
from dispatch_app.providers.openai_chat import plain_headers
from dispatch_app.providers.quirks import encoded
from policies_app.routing.codes import ReasoningControl
from policies_app.routing.types import Candidate, CatalogueModel

Fields = dict[str, Any]

_SETTINGS = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_CARRIED = frozenset(
    {
        *_SETTINGS,
        "messages",
        "n",
        "stop",
        "tools",
        "tool_choice",
        "response_format",
        "reasoning_effort",
        "thinking",
        "parallel_tool_calls",
        "modalities",
    }
)
_LEVELS = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}
"""Efforts that are no level of all of Google's models, and the levels next to them that are."""
_MOST_BUDGET = 24_576
"""Of tokens, what every model takes that thinks: a budget is a ceiling, so that one above it is lowered to it."""
_AS_MUCH_AS_IT_TAKES = -1
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def prepare(provider: Provider) -> Prepared:
    """See `Adapter.prepare`."""
    headers = plain_headers()
    if provider.secret is not None:
        headers["x-goog-api-key"] = provider.secret
    return Prepared(provider=provider, url=f"{provider.base_url.rstrip('/')}/models", headers=headers)


def build(*, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
    """See `Adapter.build`."""
    system, contents = conversation_of(request.fields["messages"])
    body: Fields = {"contents": contents, "generationConfig": _settings(request, candidate)}
    if system:
        body["systemInstruction"] = {"parts": system}
    if tools := request.fields.get("tools"):
        body["tools"] = [{"functionDeclarations": [_declaration(tool["function"]) for tool in tools]}]
        if (calling := _calling(request.fields.get("tool_choice"), tools)) is not None:
            body["toolConfig"] = {"functionCallingConfig": calling}
    method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
    url = _url(prepared.url, candidate.model.wire_name, method)
    return Built(url=url, headers=prepared.headers, body=encoded(body, candidate.model.quirks))


@lru_cache(maxsize=1_024)
def _url(base_url: str, model: str, method: str) -> str:
    return f"{base_url}/{quote(model, safe='')}:{method}"


def dropped(request: Request, *, model: CatalogueModel) -> tuple[str, ...]:
    """See `Adapter.dropped`. What asks for nothing is not told."""
    unmet = _unmet(request.fields, model.quirks.reasoning_control)
    return (*not_carried(request, _CARRIED), *unmet, *request.extras)


def _unmet(fields: Mapping[str, Any], control: ReasoningControl) -> tuple[str, ...]:
    """Which of the two fields that say how much to think is met with what comes next to it, if one is."""
    effort = fields.get("reasoning_effort")
    has_levels = control is ReasoningControl.EFFORT
    match fields.get("thinking"):
        case {"type": "disabled"}:
            return ("thinking",) if has_levels else ()
        case {"type": "enabled", "budget_tokens": int(tokens)} if not has_levels:
            return ("thinking",) if tokens > _MOST_BUDGET else ()
    if effort is None:
        return ()
    is_met = effort not in _LEVELS if has_levels else has_budget(effort)
    return () if is_met else ("reasoning_effort",)


def _settings(request: Request, candidate: Candidate) -> Fields:
    fields = request.fields
    told: Fields = {"maxOutputTokens": candidate.output_tokens_limit}
    for ours, theirs in _SETTINGS.items():
        if (value := fields.get(ours)) is not None:
            told[theirs] = value
    if request.choices > 1:
        told["candidateCount"] = request.choices
    if stop := fields.get("stop"):
        told["stopSequences"] = [stop] if isinstance(stop, str) else stop
    control = candidate.model.quirks.reasoning_control
    if (thinking := _thinking(fields, control)) is not None:
        told["thinkingConfig"] = thinking
    if form := fields.get("response_format"):
        told |= _form(form)
    return told


def _form(wanted: Mapping[str, Any]) -> Fields:
    match wanted.get("type"):
        case "json_object":
            return {"responseMimeType": "application/json"}
        case "json_schema":
            schema = wanted["json_schema"].get("schema", {})
            return {"responseMimeType": "application/json", "responseJsonSchema": schema}
        case _:
            return {}


def _thinking(fields: Mapping[str, Any], control: ReasoningControl) -> Fields | None:
    """A budget in tokens says more than an effort, and so stands before it, where the model takes either."""
    effort = fields.get("reasoning_effort")
    if control is ReasoningControl.EFFORT:
        return _level(fields.get("thinking"), effort)
    match fields.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(tokens)}:
            return _budget(min(tokens, _MOST_BUDGET))
        case {"type": "disabled"}:
            return _budget(0)
    if effort is not None:
        return _budget(budget_of(effort))
    return _budget(_AS_MUCH_AS_IT_TAKES) if fields.get("thinking") else None


def _level(thinking: Any, effort: Any) -> Fields | None:
    """What is set by levels cannot be told a budget, and has no level at which nothing is thought."""
    if isinstance(thinking, Mapping) and thinking.get("type") == "disabled":
        effort = "none"
    if effort is not None:
        return {"thinkingLevel": _LEVELS.get(effort, effort), "includeThoughts": effort != "none"}
    return {"includeThoughts": True} if thinking else None


def _budget(tokens: int) -> Fields:
    return {"thinkingBudget": tokens, "includeThoughts": tokens != 0}


def _declaration(function: Mapping[str, Any]) -> Fields:
    told: Fields = {"name": function.get("name")}
    if function.get("description") is not None:
        told["description"] = function["description"]
    if function.get("parameters"):
        told["parametersJsonSchema"] = function["parameters"]
    return told


def _calling(choice: Any, tools: Sequence[Mapping[str, Any]]) -> Fields | None:
    """Calls that must fit their schema have a mode of their own, where the model is free to make any."""
    match choice:
        case {"function": {"name": name}}:
            return {"mode": "ANY", "allowedFunctionNames": [name]}
        case None | "auto" if any(tool["function"].get("strict") for tool in tools):
            return {"mode": "VALIDATED"}
        case str():
            return {"mode": _MODES.get(choice, "AUTO")}
        case _:
            return None
