"""The canonical request in Anthropic's words."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from dispatch_app.execution.canonical import ClientFormat, Request
from dispatch_app.providers.adapter import Built, Prepared, Provider
from dispatch_app.providers.anthropic_messages.conversation import conversation_of
from dispatch_app.providers.openai_chat import plain_headers
from dispatch_app.providers.quirks import encoded
from policies_app.routing.types import Candidate

DEFAULT_VERSION = "2023-06-01"
_EFFORTS = {"minimal": "low"}
"""Efforts of OpenAI's that have another name here; all others have the same."""
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
    body |= {name: fields[name] for name in _SAME if fields.get(name) is not None}
    body |= _stops(fields) | _tools(fields) | _effort(fields)
    if request.origin is ClientFormat.ANTHROPIC_MESSAGES:
        body |= request.extras
    if output := _output_config(fields):
        body["output_config"] = {**body.get("output_config", {}), **output}
    if request.stream:
        body["stream"] = True
    return Built(url=prepared.url, headers=prepared.headers, body=encoded(body, candidate.model.quirks))


def dropped(request: Request) -> tuple[str, ...]:
    """See `Adapter.dropped`. What asks for nothing is not told."""
    extras = () if request.origin is ClientFormat.ANTHROPIC_MESSAGES else request.extras
    asked = (name for name, value in request.fields.items() if name not in _CARRIED and value)
    return (*asked, *extras)


def _stops(fields: Mapping[str, Any]) -> Fields:
    stop = fields.get("stop")
    if not stop:
        return {}
    return {"stop_sequences": [stop] if isinstance(stop, str) else stop}


def _tools(fields: Mapping[str, Any]) -> Fields:
    if not fields.get("tools"):
        return {}
    choice = _tool_choice(fields.get("tool_choice"))
    if fields.get("parallel_tool_calls") is False and (choice or {}).get("type") != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    told: Fields = {"tools": [_tool(tool) for tool in fields["tools"]]}
    return told if choice is None else told | {"tool_choice": choice}


def _tool(tool: Mapping[str, Any]) -> Fields:
    function = tool["function"]
    told: Fields = {
        "name": function.get("name"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    told |= {name: function[name] for name in ("description", "strict") if function.get(name) is not None}
    return told if "cache_control" not in tool else told | {"cache_control": tool["cache_control"]}


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


def _effort(fields: Mapping[str, Any]) -> Fields:
    """Anthropic's own field stands before OpenAI's."""
    if fields.get("thinking") is not None:
        return {"thinking": fields["thinking"]}
    match fields.get("reasoning_effort"):
        case None:
            return {}
        case "none":
            return {"thinking": {"type": "disabled"}}
        case _:
            return {"thinking": {"type": "adaptive"}}


def _output_config(fields: Mapping[str, Any]) -> Fields:
    return dict(_output_settings(fields))


def _output_settings(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    effort = fields.get("reasoning_effort")
    if effort is not None and effort != "none":
        yield "effort", _EFFORTS.get(effort, effort)
    wanted = fields.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        yield "format", {"type": "json_schema", "schema": wanted["json_schema"].get("schema", {})}
