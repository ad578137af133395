"""The quirks of a model's row as whoever calls the model takes them."""

from urllib.parse import urlsplit

from policies_app.models import Model, Provider
from policies_app.routing.codes import (
    OutputLimitParameter,
    ReasoningControl,
    RefusedParameter,
    SystemRole,
    WireFormat,
)
from policies_app.routing.quirks import Quirks

_HOSTS_OF_NEW_LIMIT = ("openai.com", "azure.com")
"""They refuse `max_tokens` for their reasoning models."""


def read_quirks(row: Model) -> Quirks:
    """The quirks of a row, and those that its provider's models all have."""
    return Quirks(
        system_prefix=row.system_prefix,
        system_suffix=row.system_suffix,
        system_role=SystemRole(row.system_role),
        refused_parameters=frozenset(map(RefusedParameter, row.refused_parameters)),
        output_limit_parameter=_output_limit_parameter(row),
        reasoning_control=ReasoningControl(row.reasoning_control),
        thinks_unasked=row.thinks_unasked,
        fixed_parameters=row.fixed_parameters or {},
    )


def _output_limit_parameter(row: Model) -> OutputLimitParameter:
    stated = OutputLimitParameter(row.output_limit_parameter)
    if stated is OutputLimitParameter.AUTOMATIC and _knows_new_limit(row.provider):
        return OutputLimitParameter.MAX_COMPLETION_TOKENS
    return stated


def _knows_new_limit(provider: Provider) -> bool:
    host = urlsplit(provider.base_url).hostname or ""
    is_known = any(host == known or host.endswith(f".{known}") for known in _HOSTS_OF_NEW_LIMIT)
    return is_known or provider.wire_format == WireFormat.AZURE_OPENAI
