"""A client's prompt, whatever wire format it came in: the canonical request and what routing may know of it."""

from collections.abc import Mapping

import msgspec

from dispatch_app.execution.canonical import Request
from policies_app.routing.codes import Capability, WireFeature


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """`input_tokens` is an estimate, `input_tokens_bound` never too low; images are counted apart from both.

    `features` is what the request says that not every vendor's wire format can, `echo` what its answer repeats of it.
    `inputs` and `longest_input_tokens` are as in `Facts`.
    """

    model: str
    request: Request
    input_tokens: int
    input_tokens_bound: int
    images: int
    output_tokens: int | None
    needs: frozenset[Capability]
    end_user: str
    metadata: Mapping[str, str]
    includes_usage: bool
    features: frozenset[WireFeature] = frozenset()
    echo: Mapping[str, object] = msgspec.field(default_factory=dict)
    inputs: int = 1
    longest_input_tokens: int = 0
