"""The values that the routing core takes and returns.

Everything here is immutable. Nothing here reads a clock, a cache or a database: what a decision depends on is an argument.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from policies_app.routing.codes import (
    BudgetAction,
    BudgetScope,
    Capability,
    DropReason,
    HealthState,
    LatencyMeasure,
    Pick,
    RefusalCode,
    Strategy,
    Tier,
    WhenNonePasses,
    WireFeature,
    WireFormat,
)
from policies_app.routing.quirks import NO_QUIRKS, Quirks
from policies_app.routing.validators import JudgeReference, Validator

HEDGE_PERCENTILE = 95
HEDGE_WINDOW_S = 900
"""Over how long a time the first byte's percentile is learned after which *hedged* asks a second target."""
HEDGE_LEAST_SAMPLES = 20


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens by disjoint bucket: each token is counted, and paid for, in exactly one of them."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return (
            self.input_tokens
            + self.cached_input_tokens
            + self.cache_write_tokens
            + self.output_tokens
            + self.reasoning_tokens
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs from `effective_from` on, in nano-dollars per million tokens of each bucket.

    `dearest_input_nanos` and `dearest_output_nanos` are the highest that an input and an output token can meet. A price
    `is_free` where nothing is ever paid: the model is one's own.
    """

    id: int
    effective_from: datetime
    input_nanos: int
    cached_input_nanos: int
    cache_write_nanos: int
    output_nanos: int
    reasoning_nanos: int
    dearest_input_nanos: int = field(init=False, repr=False, compare=False)
    dearest_output_nanos: int = field(init=False, repr=False, compare=False)
    is_free: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Worked out once: each decision asks for them, for each of its candidates.
        dearest_input_nanos = max(self.input_nanos, self.cached_input_nanos, self.cache_write_nanos)
        dearest_output_nanos = max(self.output_nanos, self.reasoning_nanos)
        object.__setattr__(self, "dearest_input_nanos", dearest_input_nanos)
        object.__setattr__(self, "dearest_output_nanos", dearest_output_nanos)
        object.__setattr__(self, "is_free", not (dearest_input_nanos or dearest_output_nanos))


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueModel:
    """One model of the fleet as the catalogue describes it. `prices` are ordered by `effective_from`.

    `bills_after_cut` says that its vendor may go on, and bill, when the connection is closed before the answer's end.
    `quirks` is for whoever calls it; here only the tokens count that they add. One that `embeds` gives embeddings, and
    nothing else.
    """

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
    cold_after_s: int | None = None
    cold_penalty_ms: int = 0
    bills_after_cut: bool = True
    quirks: Quirks = NO_QUIRKS
    embeds: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "embeds", Capability.EMBEDDINGS in self.capabilities)

    def price_at(self, now: datetime) -> Price | None:
        """The price row in force at `now`, or None if the model has no price yet."""
        for price in reversed(self.prices):
            if price.effective_from <= now:
                return price
        return None


Catalogue = Mapping[str, CatalogueModel]
"""The fleet by model name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """One version of a judge: a model that rates answers by a rubric.

    It answers with a number from `lowest` to `highest` or, if there are `verdicts`, with one of these words, each of
    which stands for a score. Scores are from 0 to 1; a reply that is neither counts as `default`. `instructions` is
    what the model is told of its task, `rubric` what it rates by.
    """

    name: str
    version: int
    model: str
    instructions: str
    rubric: str
    lowest: float
    highest: float
    verdicts: Mapping[str, float]
    default: float
    timeout_ms: int
    max_output_tokens: int

    @property
    def reference(self) -> JudgeReference:
        """What policies name this version by."""
        return JudgeReference(name=self.name, version=self.version)


Judges = Mapping[tuple[str, int], Judge]
"""Every version of every judge, by name and version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one request. The text of the prompt is not among it, on purpose.

    `input_tokens` is an estimate for conditions; `input_tokens_bound` and `images` bound the money from above.
    `output_tokens` is the caller's own limit, None when it set none; `choices` is how many replies it asked for.
    `features` is what it says that not every wire format can. `draw` is what chance gave this request: shares that stick to nobody go by it.

    `inputs` is how many texts are to be embedded, and `longest_input_tokens` the estimate of the longest of them: each has a
    context window of its own. Of anything but embeddings there is one input, and its length says nothing beside `input_tokens`.
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
    features: frozenset[WireFeature] = frozenset()
    inputs: int = 1
    longest_input_tokens: int = 0
    draw: int = 0

    @property
    def is_for_embeddings(self) -> bool:
        """Whether vectors are asked for, and no words."""
        return Capability.EMBEDDINGS in self.needs


@dataclass(frozen=True, slots=True, kw_only=True)
class DowngradeStep:
    """From `from_pct` percent of a budget on, no tier above `highest_tier` is asked."""

    from_pct: int
    highest_tier: Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPressure:
    """How full one budget that applies to the request is. A lifetime budget has no `period_end`."""

    budget_id: int
    name: str
    scope: BudgetScope
    action: BudgetAction
    used_nanos: int
    limit_nanos: int
    steps: tuple[DowngradeStep, ...] = ()
    period_start: datetime | None = None
    period_end: datetime | None = None

    @property
    def used_pct(self) -> float:
        """Settled plus reserved, in percent of the limit; 100 for a limit of zero."""
        return 100.0 if self.limit_nanos <= 0 else 100.0 * self.used_nanos / self.limit_nanos

    @property
    def highest_tier(self) -> Tier | None:
        """The highest tier that the budget lets through now; None if it lets all of them."""
        if self.action is not BudgetAction.DOWNGRADE or not self.steps:
            return None
        used_pct = self.used_pct
        tiers = (step.highest_tier for step in self.steps if used_pct >= step.from_pct)
        return min(tiers, key=lambda tier: tier.rank, default=None)


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

    def stop_requests(self, *, facts: "Facts", policy: str, rule: str) -> bool:
        """Whether they stop requests like this one, whichever target it has."""
        return (
            self.everything
            or facts.tenant in self.tenants
            or facts.api_key in self.api_keys
            or (facts.tenant, facts.end_user) in self.end_users
            or policy in self.policies
            or (policy, rule) in self.rules
        )

    def stop_target(self, model: "CatalogueModel") -> bool:
        """Whether they stop calls of this model."""
        return model.name in self.models or model.provider in self.providers


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetHealth:
    """How one model fares. `until` is when it may be tried again, None if nothing says so.

    `badness` orders targets that are all ejected: the least bad is tried.
    """

    state: HealthState
    until: datetime | None = None
    badness: float = 0.0


class LatencyQuery(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """One figure that can be asked of the latency statistics: a percentile of a model over the last `window_s`."""

    model: str
    measure: LatencyMeasure
    percentile: int
    window_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReading:
    """The answer to a `LatencyQuery`, and how many calls it rests on."""

    value_ms: int
    samples: int


class LatencySignal(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """A latency held against a bound. It holds above `above_ms`, and then until it is below the bound by `hysteresis_pct`."""

    query: LatencyQuery
    above_ms: int
    least_samples: int
    hysteresis_pct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """What is known of the fleet at a moment, the same for all requests.

    `targets` has the models that are not healthy. `latency` has the queries that somebody asked for. `holding` has the
    signals that held when they were last looked at. `cold_penalty_ms` has the models that are cold now. `quality` has
    eval scores from 0 to 1 by model and task.
    """

    targets: Mapping[str, TargetHealth] = field(default_factory=dict)
    degraded_providers: frozenset[str] = frozenset()
    latency: Mapping[LatencyQuery, LatencyReading] = field(default_factory=dict)
    holding: frozenset[LatencySignal] = frozenset()
    cold_penalty_ms: Mapping[str, int] = field(default_factory=dict)
    quality: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def is_ailing(self, model: str) -> bool:
        """Whether the model of that name is not healthy."""
        health = self.targets.get(model)
        return health is not None and health.state is not HealthState.HEALTHY


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What changes from moment to moment and bears on a decision."""

    killed: KilledTargets = field(default_factory=KilledTargets)
    budgets: tuple[BudgetPressure, ...] = ()
    fleet: FleetState = field(default_factory=FleetState)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One target that the plan may call, with the bound that the ledger reserves for it.

    `output_tokens_limit` is what the upstream is told; `bound_nanos` is never below what the call can cost.
    `cold_penalty_ms` is what a cold start will add, 0 if the model is warm. `state` is how the target fares: one that is
    ejected stands in a plan only where there is none better. `is_shrunk` says that its output limit was lowered to what was
    left of a budget.
    """

    model: CatalogueModel
    price: Price
    output_tokens_limit: int
    bound_nanos: int
    timeout_ms: int | None
    validators: tuple[Validator, ...] = ()
    weight: int = 1
    cold_penalty_ms: int = 0
    state: HealthState = HealthState.HEALTHY
    is_shrunk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJudge:
    """A judge that the plan may ask. Its bound depends on the answers, so execution works it out."""

    judge: Judge
    model: CatalogueModel
    price: Price


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


class RoutePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What execution may do: candidates in order, inside one deadline, one bound on attempts and one on money.

    `judges` has those that can be asked now. `hedge_delay_ms` is None where there is no reason to hedge. `set_aside` is
    the rule's own strategy where `strategy` stands in for it. The other fields are those of `RouteDocument`.
    """

    rule: str
    strategy: Strategy
    candidates: tuple[Candidate, ...]
    deadline_ms: int
    max_attempts: int
    max_cost_nanos: int | None = None
    fall_back_on_long_context: bool = False
    continue_broken_streams: bool = False
    drain_ms: int | None = None
    when_none_passes: WhenNonePasses = WhenNonePasses.RETURN_LAST
    pick: Pick = Pick.FIRST_VALID
    judge: JudgeReference | None = None
    judges: tuple[PlannedJudge, ...] = ()
    patience_ms: int | None = None
    hedge_delay_ms: int | None = None
    set_aside: Strategy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why there is no plan. `subject` names the switch, model or budget that decided it."""

    code: RefusalCode
    subject: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
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
