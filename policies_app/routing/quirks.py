"""What one model is told otherwise than its wire format says. Routing carries it and looks at nothing but its tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from policies_app.routing.codes import OutputLimitParameter, ReasoningControl, RefusedParameter, SystemRole

BYTES_OF_A_TOKEN = 4
FRAMING_TOKENS_OF_FRAGMENTS = 20
"""What a message of their own, and the blank lines around them, can come to."""
FRAMING_TOKENS_OF_PARAMETERS = 1_024
"""What the vendor may add to a prompt because of parameters, beside their own words: as for tools and schemas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """The quirks of one model.

    `system_prefix` and `system_suffix` stand before and after the system's words. `fixed_parameters` are merged into each
    request, in the vendor's own words. `thinks_unasked` says that the vendor may bill thoughts that nobody asked for, or sees.
    `alter_requests` says that a request is another one for this model, whatever its wire format, fixed parameters aside.
    `input_tokens` is an estimate of what they add to a prompt, `input_tokens_bound` the most that they can.
    """

    system_prefix: str = ""
    system_suffix: str = ""
    system_role: SystemRole = SystemRole.AS_SENT
    refused_parameters: frozenset[RefusedParameter] = frozenset()
    output_limit_parameter: OutputLimitParameter = OutputLimitParameter.AUTOMATIC
    reasoning_control: ReasoningControl = ReasoningControl.AS_SENT
    thinks_unasked: bool = False
    fixed_parameters: Mapping[str, object] = field(default_factory=dict, hash=False)
    alter_requests: bool = field(init=False, compare=False)
    input_tokens: int = field(init=False, compare=False)
    input_tokens_bound: int = field(init=False, compare=False)

    @property
    def may_think(self) -> bool:
        """Whether the vendor may generate, and bill, unseen tokens for a request that asks for none.

        What a vendor's own words set off is not known here.
        """
        return self.thinks_unasked or bool(self.fixed_parameters)

    def __post_init__(self) -> None:
        # Worked out once: each decision asks for them, for each of its candidates, and each request that is sent.
        object.__setattr__(self, "alter_requests", _alter_requests(self))
        object.__setattr__(self, "input_tokens", _estimate(self))
        object.__setattr__(self, "input_tokens_bound", _bound(self))


def _alter_requests(quirks: Quirks) -> bool:
    return bool(
        quirks.system_prefix
        or quirks.system_suffix
        or quirks.refused_parameters
        or quirks.system_role is not SystemRole.AS_SENT
        or quirks.reasoning_control is not ReasoningControl.AS_SENT
    )


def _estimate(quirks: Quirks) -> int:
    if not (quirks.system_prefix or quirks.system_suffix):
        return 0
    return BYTES_OF_A_TOKEN + (_size(quirks.system_prefix) + _size(quirks.system_suffix)) // BYTES_OF_A_TOKEN


def _bound(quirks: Quirks) -> int:
    """No token is shorter than a byte."""
    tokens = 0
    if quirks.system_prefix or quirks.system_suffix:
        tokens += FRAMING_TOKENS_OF_FRAGMENTS + _size(quirks.system_prefix) + _size(quirks.system_suffix)
    if quirks.fixed_parameters:
        tokens += FRAMING_TOKENS_OF_PARAMETERS + _size(str(quirks.fixed_parameters))
    return tokens


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


NO_QUIRKS = Quirks()
