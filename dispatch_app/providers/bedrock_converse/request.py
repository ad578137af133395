"""The canonical request in Converse's words."""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec

from dispatch_app.execution.canonical import Request
from dispatch_app.execution.errors import UnreachableError
from dispatch_app.providers.adapter import Built, Prepared, Provider, not_carried
from dispatch_app.providers.bedrock_converse.conversation import Block, conversation_of, marked
from dispatch_app.providers.bedrock_converse.signing import is_access_key, signed_headers
from dispatch_app.providers.openai_chat import plain_headers
from dispatch_app.providers.quirks import encoded
from policies_app.routing.types import Candidate, CatalogueModel

_REGION = re.compile(r"\bbedrock-runtime(?:-fips)?\.(?P<region>[a-z0-9-]+)\.")
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
_EFFORTS = {"minimal": "low"}
"""Efforts of OpenAI's that Converse does not have, and those next to them."""
_OPENAI_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}
"""Efforts that OpenAI's models behind Bedrock do not know, and those next to them."""
_MATCHED_STOP = ["/stop_sequence"]
"""Which of its own fields a model shall add to the reply; those that have none leave it out."""
_encode = msgspec.json.Encoder().encode

Fields = dict[str, Any]


def prepare(provider: Provider) -> Prepared:
    """See `Adapter.prepare`.

    :raises UnreachableError: if there is an access key, and neither the provider's row nor its host names the region.
    """
    headers = plain_headers()
    if provider.secret is not None and not is_access_key(provider.secret):
        headers["authorization"] = f"Bearer {provider.secret}"
    elif provider.secret is not None and not _region(provider):
        raise UnreachableError
    return Prepared(provider=provider, url=provider.base_url.rstrip("/"), headers=headers)


def build(*, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
    """See `Adapter.build`."""
    fields = request.fields
    system, messages = conversation_of(fields["messages"])
    body: Fields = {"messages": messages, "inferenceConfig": _inference(fields, candidate)}
    if system:
        body["system"] = system
    if fields.get("stop"):
        body["additionalModelResponseFieldPaths"] = _MATCHED_STOP
    if tools := _tools(fields):
        body["toolConfig"] = tools
    if own := _own_fields(fields, model=candidate.model.wire_name):
        body["additionalModelRequestFields"] = own
    if output := _output_config(fields, model=candidate.model.wire_name):
        body["outputConfig"] = output
    operation = "converse-stream" if request.stream else "converse"
    told = encoded(body, candidate.model.quirks)
    return addressed(told, operation=operation, candidate=candidate, prepared=prepared, now=now)


def dropped(request: Request, *, model: CatalogueModel) -> tuple[str, ...]:
    """See `Adapter.dropped`. What asks for nothing is not told."""
    asked = not_carried(request, _CARRIED)
    if request.fields.get("tool_choice") == "none" and _tools(request.fields):
        asked.append("tool_choice")
    effort = request.fields.get("reasoning_effort")
    if effort is not None and not _is_told(str(effort), model=model.wire_name):
        asked.append("reasoning_effort")
    return (*asked, *request.extras)


def _is_told(effort: str, *, model: str) -> bool:
    """Whether an effort is told as it was asked for. Only Anthropic's models have a word for none."""
    if effort == "none":
        return _is_by("anthropic", model)
    return effort not in (_OPENAI_EFFORTS if _is_by("openai", model) else _EFFORTS)


def addressed(
    body: bytes, *, operation: str, candidate: Candidate, prepared: Prepared, now: datetime
) -> Built:
    """A request for an operation of the model, signed if there is an access key."""
    url = _url(prepared.url, candidate.model.wire_name, operation)
    secret, headers = prepared.provider.secret, prepared.headers
    if secret is not None and is_access_key(secret):
        headers = headers.copy()
        headers.update(
            signed_headers(
                url=url,
                body=body,
                media_type=headers["content-type"],
                secret=secret,
                region=_region(prepared.provider),
                now=now,
            )
        )
    return Built(url=url, headers=headers, body=body)


@lru_cache(maxsize=1_024)
def _url(base_url: str, model: str, operation: str) -> str:
    """A colon goes over the wire as it is, and what is signed has to be what goes over the wire."""
    return f"{base_url}/model/{quote(model, safe=':')}/{operation}"


def _region(provider: Provider) -> str:
    """The region of a provider's row, or of its host; empty if neither names one."""
    return provider.region or _region_of_host(provider.base_url)


@lru_cache(maxsize=1_024)
def _region_of_host(base_url: str) -> str:
    named = _REGION.search(base_url)
    return named["region"] if named else ""


def _inference(fields: Mapping[str, Any], candidate: Candidate) -> Fields:
    told: Fields = {"maxTokens": candidate.output_tokens_limit}
    if (temperature := fields.get("temperature")) is not None:
        told["temperature"] = temperature
    if (top_p := fields.get("top_p")) is not None:
        told["topP"] = top_p
    if stop := fields.get("stop"):
        told["stopSequences"] = [stop] if isinstance(stop, str) else stop
    return told


def _tools(fields: Mapping[str, Any]) -> Fields:
    """The tools, if any may be called. Where some were called before, they have to be told in any case."""
    choice = fields.get("tool_choice")
    if not fields.get("tools") or (choice == "none" and not _has_calls(fields["messages"])):
        return {}
    config: Fields = {"tools": [block for tool in fields["tools"] for block in _tool(tool)]}
    if (told := _tool_choice(choice)) is not None:
        config["toolChoice"] = told
    return config


def _has_calls(messages: list[Mapping[str, Any]]) -> bool:
    return any(message.get("tool_calls") or message["role"] == "tool" for message in messages)


def _tool(tool: Mapping[str, Any]) -> list[Block]:
    function = tool["function"]
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    told: Fields = {"name": function.get("name"), "inputSchema": {"json": schema}}
    if description := function.get("description"):
        told["description"] = description
    if strict := function.get("strict"):
        told["strict"] = strict
    return marked({"toolSpec": told}, tool)


def _tool_choice(choice: Any) -> Fields | None:
    match choice:
        case "auto":
            return {"auto": {}}
        case "required":
            return {"any": {}}
        case {"function": {"name": name}}:
            return {"tool": {"name": name}}
        case _:
            return None


def _own_fields(fields: Mapping[str, Any], *, model: str) -> Fields:
    """What each maker's models take beside Converse's own fields. Anthropic's own field stands before OpenAI's."""
    told: Fields = {}
    if fields.get("top_k") is not None:
        told["top_k"] = fields["top_k"]
    effort = fields.get("reasoning_effort")
    if fields.get("thinking") is not None:
        told["thinking"] = fields["thinking"]
    elif effort is not None and _is_by("anthropic", model):
        told["thinking"] = {"type": "disabled" if effort == "none" else "adaptive"}
    if effort not in {None, "none"} and _is_by("openai", model):
        told["reasoning_effort"] = _OPENAI_EFFORTS.get(str(effort), effort)
    return told


def _output_config(fields: Mapping[str, Any], *, model: str) -> Fields:
    """What the output shall be like."""
    told: Fields = {}
    effort = fields.get("reasoning_effort")
    if effort not in {None, "none"} and not _is_by("openai", model):
        told["effort"] = _EFFORTS.get(str(effort), effort)
    wanted = fields.get("response_format")
    if wanted and wanted.get("type") == "json_schema":
        told["textFormat"] = _text_format(wanted["json_schema"])
    return told


def _text_format(wanted: Mapping[str, Any]) -> Fields:
    """The schema is text within the JSON."""
    told: Fields = {"schema": _encode(wanted.get("schema", {})).decode()}
    told |= {name: wanted[name] for name in ("name", "description") if wanted.get(name)}
    return {"type": "json_schema", "structure": {"jsonSchema": told}}


def _is_by(maker: str, model: str) -> bool:
    """Whether a model's id, with or without a region or an ARN in front, is of a maker."""
    return maker in re.split(r"[./:]", model)
