"""Models as requests meet them: what of a decision depends on a model's row alone, worked out when a policy is compiled."""

from collections.abc import Mapping
from dataclasses import dataclass

from policies_app.routing.codes import WireFeature
from policies_app.routing.types import CatalogueModel
from policies_app.routing.wire_formats import most_inputs, unsaid


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model, and what decides whether a request fits it.

    `unsaid` is what it could not be told of, `most_inputs` how many texts it embeds in one call. `room_tokens` is what its
    context window leaves for a prompt and the answer together, once its quirks have added their words.
    """

    model: CatalogueModel
    unsaid: frozenset[WireFeature]
    most_inputs: int
    room_tokens: int


Targets = Mapping[str, Target]
"""Models as requests meet them, by name."""


def target_of(model: CatalogueModel) -> Target:
    """The model as requests meet it."""
    return Target(
        model=model,
        unsaid=unsaid(model),
        most_inputs=most_inputs(model.wire_format, model.wire_name),
        room_tokens=model.context_window_tokens - model.quirks.input_tokens,
    )
