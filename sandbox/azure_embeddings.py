"""Azure's shape of OpenAI's embeddings: the deployment stands in the address. See `sandbox.formats.EmbeddingFormat`."""

from sandbox.azure_openai import deployment_of, is_embedding
from sandbox.errors import ApiError
from sandbox.fleet import EMBEDDING
from sandbox.openai_embeddings import read_texts, render_vectors
from sandbox.wire import HttpRequest

__all__ = ["is_embedding", "model_of", "read_texts", "render_vectors"]


def model_of(request: HttpRequest) -> str:
    """The model of the deployment that is asked.

    :raises ApiError: if there is no such one that embeds.
    """
    deployment = deployment_of(request)
    if deployment != EMBEDDING.name:
        raise ApiError(status=404, message=f"{deployment} does not embed.", code="model_not_found")
    return deployment
