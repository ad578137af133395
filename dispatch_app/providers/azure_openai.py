"""Azure's shape of OpenAI's Chat Completions: the deployment stands in the address, and the key in a header of its own."""

from datetime import datetime
from functools import lru_cache
from urllib.parse import quote

from dispatch_app.execution.canonical import Request
from dispatch_app.providers import openai_chat
from dispatch_app.providers.adapter import Built, Prepared, Provider
from dispatch_app.providers.openai_chat import (
    REPLY_MEDIA_TYPE,
    STREAM_MEDIA_TYPE,
    dropped,
    parse_reply,
    read_error,
    stream_decoder,
)
from policies_app.routing.types import Candidate

__all__ = [
    "REPLY_MEDIA_TYPE",
    "STREAM_MEDIA_TYPE",
    "address_of",
    "build",
    "dropped",
    "parse_reply",
    "prepare",
    "read_error",
    "stream_decoder",
]


def prepare(provider: Provider) -> Prepared:
    """See `Adapter.prepare`."""
    headers = openai_chat.plain_headers()
    if provider.secret is not None:
        headers["api-key"] = provider.secret
    return Prepared(provider=provider, url=provider.base_url.rstrip("/"), headers=headers)


def build(*, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
    """See `Adapter.build`."""
    built = openai_chat.build(request=request, candidate=candidate, prepared=prepared, now=now)
    url = address_of("chat/completions", candidate=candidate, prepared=prepared)
    return Built(url=url, headers=built.headers, body=built.body)


def address_of(operation: str, *, candidate: Candidate, prepared: Prepared) -> str:
    """Where an operation of a deployment is. Without an API version it is that of Azure's newer API, which has no deployments."""
    return _url(prepared.url, candidate.model.wire_name, prepared.provider.api_version, operation)


@lru_cache(maxsize=1_024)
def _url(base_url: str, deployment: str, version: str, operation: str) -> str:
    if not version:
        return f"{base_url}/{operation}"
    path = f"deployments/{quote(deployment, safe='')}/{operation}"
    return f"{base_url}/{path}?api-version={quote(version, safe='')}"
