"""Azure's shape of OpenAI's embeddings: the deployment stands in the address. Pure; performs no I/O."""

from datetime import datetime

from dispatch_app.execution.canonical import Request
from dispatch_app.providers import openai_embeddings
from dispatch_app.providers.adapter import Built, Prepared
from dispatch_app.providers.azure_openai import address_of
from dispatch_app.providers.openai_embeddings import dropped, parse_reply
from policies_app.routing.types import Candidate

__all__ = ["build", "dropped", "parse_reply"]


def build(*, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
    """See `Embedder.build`."""
    built = openai_embeddings.build(request=request, candidate=candidate, prepared=prepared, now=now)
    url = address_of("embeddings", candidate=candidate, prepared=prepared)
    return Built(url=url, headers=built.headers, body=built.body)
