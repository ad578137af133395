"""The makers of embeddings behind Bedrock that are known here, told by a model's id: each has words of its own.

Sources: "Amazon Titan Embeddings G1 - Text", "Cohere Embed v3" and "Cohere Embed v4" in the Amazon Bedrock user guide.
"""

from dataclasses import dataclass
from enum import StrEnum


class Maker(StrEnum):
    """Whose words a model takes."""

    TITAN = "titan"
    COHERE = "cohere"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingFamily:
    """What the models of one maker and generation have in common. `ids` are what their ids hold."""

    ids: tuple[str, ...]
    maker: Maker
    most_inputs: int
    has_dimensions: bool


_FAMILIES = (
    EmbeddingFamily(
        ids=("amazon.titan-embed-text-v1", "amazon.titan-embed-g1-text"),
        maker=Maker.TITAN,
        most_inputs=1,
        has_dimensions=False,
    ),
    EmbeddingFamily(
        ids=("amazon.titan-embed-text-v2",), maker=Maker.TITAN, most_inputs=1, has_dimensions=True
    ),
    EmbeddingFamily(
        ids=("cohere.embed-english-v3", "cohere.embed-multilingual-v3"),
        maker=Maker.COHERE,
        most_inputs=96,
        has_dimensions=False,
    ),
    EmbeddingFamily(ids=("cohere.embed-v4",), maker=Maker.COHERE, most_inputs=96, has_dimensions=True),
)


def family_of(wire_name: str) -> EmbeddingFamily | None:
    """The family of a model's id, with or without a region or an ARN in front; None if it is none of these."""
    for family in _FAMILIES:
        if any(id_ in wire_name for id_ in family.ids):
            return family
    return None
