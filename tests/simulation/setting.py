"""What a seed's world is made of: models and their prices, the credentials of their vendors, judges, policies of all strategies, tenants and budgets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from dispatch_app.execution.ports import Credential
from dispatch_app.snapshot.types import (
    ServedBudget,
    ServedKey,
    ServedKillSwitch,
    ServedPolicy,
    ServedProvider,
    ServedTenant,
    Snapshot,
)
from policies_app.routing.codes import (
    CHAT_CAPABILITIES,
    BudgetAction,
    BudgetPeriod,
    BudgetScope,
    Capability,
    KillScope,
    LogprobMeasure,
    Pick,
    Strategy,
    Tier,
    WhenNonePasses,
    WireFormat,
)
from policies_app.routing.compilation import CompiledPolicy, compile_policy, direct_policies
from policies_app.routing.conditions import Condition, HealthDegraded, ShareOf, TaskIs
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.types import Catalogue, CatalogueModel, DowngradeStep, Judge, Price
from policies_app.routing.validators import (
    CallableAccepts,
    DeclaredAtLeast,
    FinishReasonIs,
    JsonSchemaHolds,
    JudgedAtLeast,
    JudgeReference,
    LengthBetween,
    LogprobAtLeast,
    NotRefused,
    SamplesAgree,
    Validator,
)
from tests.simulation.accounts import BudgetRow, Switch
from tests.simulation.chance import Chance
from tests.simulation.fleet import JUDGE_INSTRUCTIONS

EPOCH = datetime(2026, 3, 3, 23, 59, 50, tzinfo=UTC)
"""Ten seconds before a new day, so that budgets' periods end while requests run."""
TASKS = ("", "draft", "review")
_JUDGE_MODEL = "judge"
_TYPICAL_TOKENS = 200


@dataclass(slots=True, kw_only=True)
class Setting:
    """The catalogue, the policies and the tenants. Budgets change their limits, switches come and go."""

    catalogue: Catalogue
    credentials: Mapping[int, tuple[Credential, ...]]
    judges: Mapping[tuple[str, int], Judge]
    policies: dict[str, ServedPolicy]
    tenants: tuple[ServedTenant, ...]
    budgets: dict[int, BudgetRow]
    switches: list[Switch]
    epoch: int = 0

    def keys_of(self, tenant: ServedTenant) -> ServedKey:
        """The one key of a tenant."""
        return ServedKey(
            id=tenant.id,
            public_id=f"key-{tenant.id}",
            secret_hmac=b"",
            tenant=tenant,
            enabled=True,
            expires_at=None,
            policies=None,
            may_call_models=True,
            may_explain_drafts=False,
        )

    def snapshot(self) -> Snapshot:
        """What processes serve from when they have heard of everything."""
        self.epoch += 1
        tenants = [self._with_limits(tenant) for tenant in self.tenants]
        return Snapshot(
            epoch=self.epoch,
            loaded_at=EPOCH,
            keys={f"key-{tenant.id}": self.keys_of(tenant) for tenant in tenants},
            policies=dict(self.policies),
            drafts={},
            catalogue=self.catalogue,
            direct=direct_policies(self.catalogue),
            providers={
                number: tuple(_provider(number, credential) for credential in credentials)
                for number, credentials in self.credentials.items()
            },
            kill_switches=tuple(self._served(switch) for switch in self.switches if not switch.is_lifted),
            judges=self.judges,
            quality={},
        )

    def _with_limits(self, tenant: ServedTenant) -> ServedTenant:
        budgets = tuple(
            replace(budget, limit_nanos=self.budgets[budget.id].limit_nanos) for budget in tenant.budgets
        )
        return replace(tenant, budgets=budgets)

    def _served(self, switch: Switch) -> ServedKillSwitch:
        """A switch by the names that the routing core compares."""
        by_id = {model.id: model.name for model in self.catalogue.values()}
        policies = {policy.id: policy.name for policy in self.policies.values()}
        scope, subject = switch.scope, switch.subject
        pair = subject if isinstance(subject, tuple) else (subject, "")
        return ServedKillSwitch(
            id=switch.id,
            scope=scope,
            provider=f"vendor-{subject}" if scope is KillScope.PROVIDER else "",
            model=by_id.get(subject, "") if scope is KillScope.MODEL else "",  # type: ignore[arg-type]
            policy=policies.get(pair[0], "") if scope in {KillScope.POLICY, KillScope.RULE} else "",
            rule=str(pair[1]) if scope is KillScope.RULE else "",
            tenant=f"tenant-{pair[0]}" if scope in {KillScope.TENANT, KillScope.END_USER} else "",
            api_key=f"key-{subject}" if scope is KillScope.API_KEY else "",
            end_user=str(pair[1]) if scope is KillScope.END_USER else "",
            reason="",
            hard=False,
            expires_at=None,
        )


def draw_setting(chance: Chance) -> Setting:
    """A world."""
    catalogue = _catalogue(chance)
    judges = {(name, 1): _judge(chance, name) for name in ("scores", "words")}
    documents = [_policy(chance, f"policy-{number}", catalogue) for number in range(1, chance.number(2, 4))]
    policies = {
        document.name: ServedPolicy(
            id=number,
            name=document.name,
            description="",
            tenant_id=None,
            compiled=compile_drawn(document, catalogue, judges),
        )
        for number, document in enumerate(documents, start=1)
    }
    tenants = tuple(_tenant(chance, number, catalogue) for number in (1, 2))
    budgets = {
        budget.id: BudgetRow(id=budget.id, action=budget.action, limit_nanos=budget.limit_nanos)
        for tenant in tenants
        for budget in tenant.budgets
    }
    return Setting(
        catalogue=catalogue,
        credentials={number: _credentials(chance, number) for number in (1, 2, 3)},
        judges=judges,
        policies=policies,
        tenants=tenants,
        budgets=budgets,
        switches=[],
    )


def compile_drawn(
    document: PolicyDocument, catalogue: Catalogue, judges: Mapping[tuple[str, int], Judge]
) -> CompiledPolicy:
    return compile_policy(document=document, version=1, catalogue=catalogue, judges=judges)


def redraw_policy(chance: Chance, setting: Setting) -> str:
    """Publish another version of one policy; answers its name."""
    name = chance.one_of(*setting.policies)
    old = setting.policies[name]
    document = _policy(chance, name, setting.catalogue)
    setting.policies[name] = ServedPolicy(
        id=old.id,
        name=name,
        description="",
        tenant_id=None,
        compiled=compile_drawn(document, setting.catalogue, setting.judges),
    )
    return name


def _catalogue(chance: Chance) -> Catalogue:
    names = [f"model-{number}" for number in range(1, chance.number(2, 5) + 1)]
    models = [_model(chance, name, number) for number, name in enumerate([*names, _JUDGE_MODEL], start=1)]
    return {model.name: model for model in models}


def _model(chance: Chance, name: str, number: int) -> CatalogueModel:
    lacking = chance.some_of([Capability.STREAMING, Capability.LOGPROBS], 0.25)
    provider_id = chance.number(1, 3)
    return CatalogueModel(
        id=number,
        name=name,
        provider_id=provider_id,
        provider=f"vendor-{provider_id}",
        wire_format=WireFormat.OPENAI_CHAT,
        wire_name=f"wire-{name}",
        tier=chance.one_of(*Tier),
        capabilities=frozenset(CHAT_CAPABILITIES) - set(lacking),
        context_window_tokens=8_000,
        max_output_tokens=chance.one_of(1, 40, 400),
        image_tokens_bound=0,
        enabled=True,
        prices=(_price(chance, number),),
        cold_penalty_ms=chance.one_of(0, 0, 300),
        bills_after_cut=chance.hits(0.5),
    )


def _price(chance: Chance, number: int) -> Price:
    """Odd figures, so that every cost has to be rounded; and now and then a model that costs nothing."""
    dearness = chance.one_of(0, 1, 1, 1, 10, 100)
    return Price(
        id=number,
        effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        input_nanos=dearness * chance.number(1, 9_999_999),
        cached_input_nanos=dearness * chance.number(1, 9_999_999),
        cache_write_nanos=dearness * chance.number(1, 9_999_999),
        output_nanos=dearness * chance.number(1, 39_999_999),
        reasoning_nanos=dearness * chance.number(1, 39_999_999),
    )


def _judge(chance: Chance, name: str) -> Judge:
    return Judge(
        name=name,
        version=1,
        model=_JUDGE_MODEL,
        instructions=JUDGE_INSTRUCTIONS,
        rubric="Is it right?",
        lowest=0,
        highest=10,
        verdicts={"good": 1.0, "bad": 0.0} if name == "words" else {},
        default=chance.one_of(0.0, 0.5, 1.0),
        timeout_ms=chance.one_of(50, 400, 3_000),
        max_output_tokens=5,
    )


def _policy(chance: Chance, name: str, catalogue: Catalogue) -> PolicyDocument:
    rules = [
        RuleDocument(name=f"rule-{number}", conditions=(_condition(chance),), route=_route(chance, catalogue))
        for number in range(chance.number(0, 2))
    ]
    default = RuleDocument(name="default", is_default=True, route=_route(chance, catalogue))
    baseline = chance.one_of(None, "model-1")
    return PolicyDocument(name=name, baseline_model=baseline, rules=(*rules, default))


def _condition(chance: Chance) -> Condition:
    return chance.one_of(
        TaskIs(tasks=(chance.one_of("draft", "review"),)),
        HealthDegraded(models=("model-1",), providers=("vendor-2",)),
        ShareOf(name="canary", percent=30.0),
    )


def _route(chance: Chance, catalogue: Catalogue) -> RouteDocument:
    strategy = chance.one_of(*Strategy)
    names = [name for name in catalogue if name != _JUDGE_MODEL]
    chance.shuffle(names)
    validates = strategy in {Strategy.CASCADE, Strategy.PARALLEL}
    steps = tuple(_step(chance, name, validates=validates) for name in names[: chance.number(2, 4)])
    pick = chance.one_of(*Pick)
    return RouteDocument(
        strategy=strategy,
        steps=steps[:1] if strategy is Strategy.SINGLE else steps,
        deadline_ms=chance.one_of(200, 1_000, 3_000, 5_000, 90_000),
        max_attempts=chance.number(1, 6),
        max_cost_nanos=chance.one_of(None, None, None, 5_000, 50_000),
        allow_dearer_fallback=True,
        fall_back_on_long_context=chance.hits(0.5),
        continue_broken_streams=chance.hits(0.5),
        when_none_passes=chance.one_of(*WhenNonePasses),
        pick=pick,
        judge=_reference(chance) if pick is Pick.JUDGE else None,
        patience_ms=chance.one_of(None, 0, 200),
        hedge_delay_ms=chance.one_of(None, 20, 200),
        drain_ms=chance.one_of(None, 100, 30_000),
    )


def _step(chance: Chance, name: str, *, validates: bool) -> StepDocument:
    validators = tuple(_validator(chance) for _ in range(chance.number(0, 2))) if validates else ()
    return StepDocument(
        model=name,
        timeout_ms=chance.one_of(None, None, 100, 700),
        max_output_tokens=chance.one_of(None, 30, 200),
        weight=chance.number(0, 3),
        validators=validators,
    )


def _validator(chance: Chance) -> Validator:
    draws = (
        lambda: JsonSchemaHolds(schema={"type": "object", "required": ["answer"]}),
        lambda: LogprobAtLeast(measure=chance.one_of(*LogprobMeasure), at_least=chance.random()),
        lambda: DeclaredAtLeast(field="sure", at_least=0.5),
        lambda: SamplesAgree(samples=chance.number(2, 4), at_least=2),
        FinishReasonIs,
        lambda: LengthBetween(minimum=chance.one_of(1, 60)),
        NotRefused,
        lambda: JudgedAtLeast(judge=_reference(chance), at_least=0.6),
        lambda: CallableAccepts(name="nobody-registered-this"),
    )
    drawn: Validator = chance.one_of(*draws)()
    return drawn


def _reference(chance: Chance) -> JudgeReference:
    return JudgeReference(name=chance.one_of("scores", "words"), version=1)


def _tenant(chance: Chance, number: int, catalogue: Catalogue) -> ServedTenant:
    scopes = [BudgetScope.TENANT, *chance.some_of(list(BudgetScope), 0.4)]
    budgets = [
        _budget(chance, number * 100 + place, number, scope, catalogue) for place, scope in enumerate(scopes)
    ]
    zone = ZoneInfo(chance.one_of("UTC", "Asia/Kolkata"))
    return ServedTenant(id=number, name=f"tenant-{number}", zone=zone, enabled=True, budgets=tuple(budgets))


def _budget(
    chance: Chance, number: int, tenant: int, scope: BudgetScope, catalogue: Catalogue
) -> ServedBudget:
    dearest = max(model.prices[0].output_nanos for model in catalogue.values())
    typical = max(1, dearest * _TYPICAL_TOKENS // 1_000_000)
    action = chance.one_of(
        BudgetAction.REJECT, BudgetAction.REJECT, BudgetAction.DOWNGRADE, BudgetAction.ALERT
    )
    return ServedBudget(
        id=number,
        name=f"budget-{number}",
        scope=scope,
        api_key_id=tenant if scope is BudgetScope.API_KEY else None,
        policy_id=1 if scope is BudgetScope.POLICY else None,
        end_user="",
        tag=None,
        month_begins_on=1,
        period=chance.one_of(BudgetPeriod.HOUR, BudgetPeriod.DAY, BudgetPeriod.LIFETIME),
        limit_nanos=int(typical * chance.span(0.3, 30.0)),
        action=action,
        steps=(
            DowngradeStep(from_pct=chance.one_of(50, 90), highest_tier=chance.one_of(Tier.SMALL, Tier.MID)),
        ),
    )


def _credentials(chance: Chance, provider_id: int) -> tuple[Credential, ...]:
    ids = [10 * provider_id + place for place in range(chance.number(1, 3))]
    return tuple(Credential(id=number, name=f"key-{number}", weight=chance.number(1, 5)) for number in ids)


def _provider(number: int, credential: Credential) -> ServedProvider:
    return ServedProvider(
        id=number,
        name=f"vendor-{number}",
        wire_format=WireFormat.OPENAI_CHAT,
        base_url="https://vendor.example/v1",
        allow_private_network=False,
        connect_timeout_ms=1_000,
        first_byte_timeout_ms=2_000,
        idle_timeout_ms=1_000,
        bills_server_errors=False,
        api_version="",
        region="",
        credential=credential,
        secret=None,
    )
