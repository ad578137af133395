"""The values that the routing core takes and returns.

Everything here is immutable. Nothing here reads a clock, a cache or a database: what a decision depends on is an argument.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from policies_app.routing.codes import (
    BudgetAction,
    BudgetScope,
    Capability,
    DropReason,
    RefusalCode,
    Strategy,
    Tier,
    WireFormat,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens by disjoint bucket: each token is counted, and paid for, in exactly one of them."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs from `effective_from` on, in nano-dollars per million tokens of each bucket."""

    id: int
    effective_from: datetime
    input_nanos: int
    cached_input_nanos: int
    cache_write_nanos: int
    output_nanos: int
    reasoning_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueModel:
    """One model of the fleet as the catalogue describes it. `prices` are ordered by `effective_from`."""

    id: int
    name: str
    provider_id: int
    provider: str
    wire_format: WireFormat
    wire_name: str
    tier: Tier
    capabilities: frozenset[Capability]
    context_window_tokens: int
    max_output_tokens: int
    image_tokens_bound: int
    enabled: bool
    prices: tuple[Price, ...]

    def price_at(self, now: datetime) -> Price | None:
        """The price row in force at `now`, or None if the model has no price yet."""
        for price in reversed(self.prices):
            if price.effective_from <= now:
                return price
        return None


Catalogue = Mapping[str, CatalogueModel]
"""The fleet by model name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one request. The text of the prompt is not among it, on purpose.

    `input_tokens` is an estimate for conditions; `input_tokens_bound` and `images` bound the money from above.
    `output_tokens` is the caller's own limit, None when it set none; `choices` is how many replies it asked for.
    """

    tenant: str
    api_key: str
    end_user: str | None
    task: str | None
    tags: Mapping[str, str]
    input_tokens: int
    input_tokens_bound: int
    images: int
    output_tokens: int | None
    choices: int
    needs: frozenset[Capability]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPressure:
    """How full one budget that applies to the request is."""

    budget_id: int
    name: str
    scope: BudgetScope
    action: BudgetAction
    used_nanos: int
    limit_nanos: int
    downgrade_at_pct: int
    downgrade_to_tier: Tier

    @property
    def used_pct(self) -> float:
        """Settled plus reserved, in percent of the limit; 100 for a limit of zero."""
        return 100.0 if self.limit_nanos <= 0 else 100.0 * self.used_nanos / self.limit_nanos

    @property
    def is_capping(self) -> bool:
        """Whether the budget forces smaller models now."""
        return self.action is BudgetAction.DOWNGRADE and self.used_pct >= self.downgrade_at_pct


@dataclass(frozen=True, slots=True, kw_only=True)
class KilledTargets:
    """Active kill switches, by what they stop."""

    everything: bool = False
    providers: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()
    rules: frozenset[tuple[str, str]] = frozenset()
    tenants: frozenset[str] = frozenset()
    api_keys: frozenset[str] = frozenset()
    end_users: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What changes from moment to moment and bears on a decision."""

    killed: KilledTargets = field(default_factory=KilledTargets)
    budgets: tuple[BudgetPressure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One target that the plan may call, with the bound that the ledger reserves for it.

    `output_tokens_limit` is what the upstream is told; `bound_nanos` is never below what the call can cost.
    """

    model: CatalogueModel
    price: Price
    output_tokens_limit: int
    bound_nanos: int
    timeout_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedCandidate:
    """A step that is no candidate, and why. `detail` names the switch, capability or figure behind the reason."""

    model: str
    reason: DropReason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTrace:
    """One rule that was looked at. `failed` names the first condition that did not hold, `actual` what it met instead.

    On the rule that matched, `expected` and `actual` speak of all of its conditions, and are empty if it has none.
    """

    rule: str
    matched: bool
    failed: str = ""
    expected: str = ""
    actual: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePlan:
    """What execution may do: candidates in order, inside one deadline and one bound on attempts."""

    rule: str
    strategy: Strategy
    candidates: tuple[Candidate, ...]
    deadline_ms: int
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why there is no plan. `subject` names the switch, model or budget that decided it."""

    code: RefusalCode
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome of `choose`: exactly one of `plan` and `refusal` is set, and `trace` says how it came about.

    The trace of `choose` words each rule only when that rule is read, so a decision whose trace nobody reads is cheap.
    """

    policy: str
    version: int
    rule: str | None
    plan: RoutePlan | None
    refusal: Refusal | None
    dropped: tuple[DroppedCandidate, ...]
    trace: Sequence[RuleTrace]
    seed: int
