"""The closed vocabularies that several fields of the API share, under the names that its schema gives them."""

from policies_app.models.choices import choices_of
from policies_app.routing.codes import (
    BudgetScope,
    Capability,
    KillScope,
    RateLimitKind,
    RateLimitScope,
    RefusedParameter,
    Tier,
)

BUDGET_SCOPES = choices_of(BudgetScope)
CAPABILITIES = choices_of(Capability)
KILL_SCOPES = choices_of(KillScope)
RATE_LIMIT_KINDS = choices_of(RateLimitKind)
RATE_LIMIT_SCOPES = choices_of(RateLimitScope)
REFUSED_PARAMETERS = choices_of(RefusedParameter)
TIERS = choices_of(Tier)
