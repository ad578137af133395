"""What the data plane serves from: immutable values, swapped as a whole when anything is edited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from dispatch_app.execution.ports import NO_CREDENTIAL, Credential
from policies_app.routing.codes import (
    BudgetAction,
    BudgetPeriod,
    BudgetScope,
    KillScope,
    RateLimitKind,
    RateLimitScope,
    WireFormat,
)
from policies_app.routing.compilation import CompiledPolicy
from policies_app.routing.types import Candidate, Catalogue, DowngradeStep, Judges


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRaise:
    """So much more than a budget's limit, from `starts_at` on and before `ends_at`, if it ends by itself."""

    amount_nanos: int
    starts_at: datetime
    ends_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedBudget:
    """A budget as requests meet it. `end_user` is empty when it applies to each end user separately; `tag` is key and value."""

    id: int
    name: str
    scope: BudgetScope
    api_key_id: int | None
    policy_id: int | None
    end_user: str
    tag: tuple[str, str] | None
    period: BudgetPeriod
    month_begins_on: int
    limit_nanos: int
    action: BudgetAction
    steps: tuple[DowngradeStep, ...] = ()
    raises: tuple[ServedRaise, ...] = ()
    shrink_to_tokens: int | None = None

    def limit_at(self, now: datetime) -> int:
        """What it allows at `now`, as the ledger will reckon it (`budget_limit_nanos`)."""
        if not self.raises:
            return self.limit_nanos
        return self.limit_nanos + sum(
            more.amount_nanos
            for more in self.raises
            if more.starts_at <= now and (more.ends_at is None or now < more.ends_at)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRateLimit:
    """A rate limit as requests meet it. `most` is for a minute, or for any moment."""

    id: int
    scope: RateLimitScope
    kind: RateLimitKind
    most: int


RateLimits = tuple[ServedRateLimit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTenant:
    """A tenant with its budgets."""

    id: int
    name: str
    zone: ZoneInfo
    enabled: bool
    budgets: tuple[ServedBudget, ...]
    replays_answers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedKey:
    """An API key. `policies` is None when it may use every policy of its tenant and every shared one.

    Its rate limits are those of its tenant, too: the ones to pass before a request is read, and those of tokens.
    """

    id: int
    public_id: str
    secret_hmac: bytes = field(repr=False)
    tenant: ServedTenant
    enabled: bool
    expires_at: datetime | None
    policies: frozenset[str] | None
    may_call_models: bool
    may_explain_drafts: bool
    door_limits: RateLimits = ()
    token_limits: RateLimits = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedProvider:
    """A provider as it is called with one of its credentials.

    `secret` is None where it asks for none, and where it asks for one that is not to be had, which `lacks_secret` says.
    """

    id: int
    name: str
    wire_format: WireFormat
    base_url: str
    allow_private_network: bool
    connect_timeout_ms: int
    first_byte_timeout_ms: int
    idle_timeout_ms: int
    bills_server_errors: bool
    region: str
    api_version: str
    credential: Credential
    secret: str | None = field(repr=False)
    lacks_secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPolicy:
    """A published policy, or a draft. `tenant_id` is None when every tenant may use it."""

    id: int
    name: str
    description: str
    tenant_id: int | None
    compiled: CompiledPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedKillSwitch:
    """An active switch. Names are those that the routing core compares: of provider, model, policy, rule, …

    A `hard` one also ends the dispatches that were admitted before it.
    """

    id: int
    scope: KillScope
    provider: str
    model: str
    policy: str
    rule: str
    tenant: str
    api_key: str
    end_user: str
    reason: str
    hard: bool
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a request is decided and carried out from, as of one epoch.

    `providers` has each, by its id, once for every credential that it can be called with. `quality` has eval scores by
    model and task, `model_limits` by model id. `direct` has the policies of callers that name a model themselves, by its name.
    """

    epoch: int
    loaded_at: datetime
    keys: Mapping[str, ServedKey]
    policies: Mapping[str, ServedPolicy]
    drafts: Mapping[str, ServedPolicy]
    catalogue: Catalogue
    direct: Mapping[str, CompiledPolicy]
    providers: Mapping[int, tuple[ServedProvider, ...]]
    kill_switches: tuple[ServedKillSwitch, ...]
    judges: Judges
    quality: Mapping[tuple[str, str], float]
    model_limits: Mapping[int, RateLimits] = field(default_factory=dict)

    def find_provider(self, provider_id: int, credential_id: int) -> ServedProvider | None:
        """The provider as it is called with that credential; None if either is gone."""
        for provider in self.providers.get(provider_id, ()):
            if provider.credential.id == credential_id:
                return provider
        return None

    def credentials_of(self, candidate: Candidate) -> Sequence[Credential]:
        """See `dispatch_app.execution.ports.CredentialsOf`."""
        providers = self.providers.get(candidate.model.provider_id, ())
        return [provider.credential for provider in providers] or [NO_CREDENTIAL]
