"""The canonical request in Anthropic's words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from dispatch_app.execution.canonical import ClientFormat, Request
from dispatch_app.providers.adapter import Built, Prepared, Provider, not_carried
from dispatch_app.providers.anthropic_messages.conversation import conversation_of
from dispatch_app.providers.openai_chat import plain_headers
from dispatch_app.providers.quirks import encoded
from policies_app.routing.types import Candidate, CatalogueModel

DEFAULT_VERSION = "2023-06-01"
_EFFORTS = {"minimal": "low"}
"""Efforts of OpenAI's that Anthropic does not have, and those next to them."""
_CARRIED = frozenset(
    {
        "messages",
        "n",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "thinking",
        "modalities",
    }
)
_SAME = ("temperature", "top_p", "top_k")

Fields = dict[str, Any]


def prepare(provider: Provider) -> Prepared:
    """See `Adapter.prepare`."""
    headers = plain_headers()
    headers["anthropic-version"] = provider.api_version or DEFAULT_VERSION
    if provider.secret is not None:
        headers["x-api-key"] = provider.secret
    return Prepared(provider=provider, url=f"{provider.base_url.rstrip('/')}/messages", headers=headers)


def build(*, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
    """See `Adapter.build`."""
    fields = request.fields
    system, messages = conversation_of(fields["messages"])
    body: Fields = {
        "model": candidate.model.wire_name,
        "max_tokens": candidate.output_tokens_limit,
        "messages": messages,
    }
    if system:
        body["system"] = system
    body |= _settings(fields)
    if request.origin is ClientFormat.ANTHROPIC_MESSAGES:
        body |= request.extras
    if output := _output_config(fields):
        body["output_config"] = {**body.get("output_config", {}), **output}
    if request.stream:
        body["stream"] = True
    return Built(url=prepared.url, headers=prepared.headers, body=encoded(body, candidate.model.quirks))


def dropped(request: Request, *, model: CatalogueModel) -> tuple[str, ...]:
    """See `Adapter.dropped`. What asks for nothing is not told."""
    extras = () if request.origin is ClientFormat.ANTHROPIC_MESSAGES else request.extras
    rounded = ("reasoning_effort",) if request.fields.get("reasoning_effort") in _EFFORTS else ()
    return (*not_carried(request, _CARRIED), *rounded, *extras)


def _settings(fields: Mapping[str, Any]) -> Fields:
    """What is said beside the conversation, but for the form of the answer."""
    told: Fields = {name: value for name in _SAME if (value := fields.get(name)) is not None}
    if stop := fields.get("stop"):
        told["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if tools := fields.get("tools"):
        told["tools"] = [_tool(tool) for tool in tools]
        if (choice := _calling(fields)) is not None:
            told["tool_choice"] = choice
    if (thinking := _thinking(fields)) is not None:
        told["thinking"] = thinking
    return told


def _tool(tool: Mapping[str, Any]) -> Fields:
    function = tool["function"]
    told: Fields = {
        "name": function.get("name"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    if (description := function.get("description")) is not None:
        told["description"] = description
    if (strict := function.get("strict")) is not None:
        told["strict"] = strict
    if "cache_control" in tool:
        told["cache_control"] = tool["cache_control"]
    return told


def _calling(fields: Mapping[str, Any]) -> Fields | None:
    choice = _tool_choice(fields.get("tool_choice"))
    if fields.get("parallel_tool_calls") is False and (choice or {}).get("type") != "none":
        return {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return choice


def _tool_choice(choice: Any) -> Fields | None:
    match choice:
        case "none" | "auto":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case {"function": {"name": name}}:
            return {"type": "tool", "name": name}
        case _:
            return None


def _thinking(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Anthropic's own field stands before OpenAI's."""
    if (thinking := fields.get("thinking")) is not None:
        return cast("Mapping[str, Any]", thinking)
    match fields.get("reasoning_effort"):
        case None:
            return None
        case "none":
            return {"type": "disabled"}
        case _:
            return {"type": "adaptive"}


def _output_config(fields: Mapping[str, Any]) -> Fields:
    told: Fields = {}
    effort = fields.get("reasoning_effort")
    if effort is not None and effort != "none":
        told["effort"] = _EFFORTS.get(effort, effort)
    wanted = fields.get("response_format")
    if wanted and wanted.get("type") == "json_schema":
        told["format"] = {"type": "json_schema", "schema": wanted["json_schema"].get("schema", {})}
    return told
