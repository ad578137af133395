"""From a prompt and a key to a decision, and to what execution needs to carry it out. Pure but for its arguments."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dispatch_app.execution.errors import ErrorCode
from dispatch_app.execution.order import Order
from dispatch_app.execution.ports import BudgetKey, DispatchRecord, IdempotencyKey
from dispatch_app.execution.shrinking import Rooms
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.prompt import Prompt
from dispatch_app.snapshot.situation import Usage, budget_keys, rooms_of, situation_of
from dispatch_app.snapshot.types import ServedKey, ServedPolicy, Snapshot
from policies_app.routing.choose import choose
from policies_app.routing.compilation import CompiledPolicy
from policies_app.routing.explain import explain
from policies_app.routing.trace import failed_kinds
from policies_app.routing.types import Decision, Facts, FleetState, Price, RoutePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a caller says about a prompt, beside it."""

    task: str
    tags: Mapping[str, str]
    timeout_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A decided request. `reason` is the decision in words."""

    prompt: Prompt
    facts: Facts
    policy: CompiledPolicy
    decision: Decision
    reason: str
    record: DispatchRecord
    budgets: tuple[BudgetKey, ...]
    rooms: Rooms


def decide(
    *,
    snapshot: Snapshot,
    budget_usage: Usage,
    fleet: FleetState,
    key: ServedKey,
    prompt: Prompt,
    inputs: Inputs,
    dispatch_id: UUID,
    now: datetime,
    is_draft: bool = False,
) -> Admission:
    """Decide a request as of `now`. The dispatch's id is also the decision's seed, so that the log can replay it.

    :raises RequestError: if the key may not use what `prompt.model` names.
    """
    policy_id, policy = _find_policy(snapshot, key, prompt.model, is_draft=is_draft)
    facts = _facts(key, prompt, inputs, draw=dispatch_id.int & (2**63 - 1))
    situation = situation_of(
        snapshot=snapshot,
        budget_usage=budget_usage,
        key=key,
        end_user=prompt.end_user,
        tags=inputs.tags,
        policy_id=policy_id,
        now=now,
        fleet=fleet,
    )
    decision = choose(document=policy, facts=facts, situation=situation, now=now, seed=facts.draw)
    reason = explain(decision=decision)
    return Admission(
        prompt=prompt,
        facts=facts,
        policy=policy,
        decision=decision,
        reason=reason,
        record=_record(
            decision,
            key=key,
            prompt=prompt,
            inputs=inputs,
            dispatch_id=dispatch_id,
            policy_id=policy_id,
            reason=reason,
            now=now,
        ),
        budgets=budget_keys(
            key=key, end_user=prompt.end_user, tags=inputs.tags, policy_id=policy_id, now=now
        ),
        rooms=rooms_of(
            budget_usage=budget_usage,
            key=key,
            end_user=prompt.end_user,
            tags=inputs.tags,
            policy_id=policy_id,
            now=now,
        ),
    )


def order_of(
    admission: Admission,
    *,
    plan: RoutePlan,
    received_at: float,
    timeout_ms: int | None,
    now: datetime,
    key: IdempotencyKey | None = None,
) -> Order:
    """What the dispatcher is asked to do. The caller can shorten the rule's deadline, never lengthen it."""
    deadline_ms = plan.deadline_ms if timeout_ms is None else min(plan.deadline_ms, timeout_ms)
    return Order(
        record=admission.record,
        request=admission.prompt.request,
        facts=admission.facts,
        plan=plan,
        budgets=admission.budgets,
        baseline=_baseline(admission, now),
        received_at=received_at,
        deadline_at=received_at + deadline_ms / 1000,
        policy=admission.decision.policy,
        seed=admission.decision.seed,
        key=key,
        rooms=admission.rooms,
    )


def may_use(key: ServedKey, policy: ServedPolicy) -> bool:
    """Whether a policy of the key's tenant, or a shared one, is also among those that the key is for."""
    return key.policies is None or policy.name in key.policies


def is_visible(key: ServedKey, policy: ServedPolicy) -> bool:
    """Whether the key's tenant may know that the policy exists."""
    return policy.tenant_id is None or policy.tenant_id == key.tenant.id


def _baseline(admission: Admission, now: datetime) -> Price | None:
    """The price that savings are measured against. What embeds saves nothing against a model that writes, nor the other way."""
    model = admission.policy.baseline
    if model is None or model.embeds is not admission.facts.is_for_embeddings:
        return None
    return model.price_at(now)


def _find_policy(
    snapshot: Snapshot, key: ServedKey, name: str, *, is_draft: bool
) -> tuple[int | None, CompiledPolicy]:
    policy = (snapshot.drafts if is_draft else snapshot.policies).get(name)
    if policy is not None and is_visible(key, policy):
        if not may_use(key, policy):
            raise RequestError(status=403, code=ErrorCode.MODEL_NOT_ALLOWED, param="model")
        return policy.id, policy.compiled
    direct = snapshot.direct.get(name)
    if direct is None or is_draft:
        raise RequestError(status=404, code=ErrorCode.MODEL_NOT_FOUND, param="model")
    if not key.may_call_models:
        raise RequestError(status=403, code=ErrorCode.MODEL_NOT_ALLOWED, param="model")
    return None, direct


def _facts(key: ServedKey, prompt: Prompt, inputs: Inputs, *, draw: int) -> Facts:
    return Facts(
        tenant=key.tenant.name,
        api_key=key.public_id,
        end_user=prompt.end_user or None,
        task=inputs.task or None,
        tags=inputs.tags,
        input_tokens=prompt.input_tokens,
        input_tokens_bound=prompt.input_tokens_bound,
        images=prompt.images,
        output_tokens=prompt.output_tokens,
        choices=prompt.request.choices,
        needs=prompt.needs,
        features=prompt.features,
        inputs=prompt.inputs,
        longest_input_tokens=prompt.longest_input_tokens,
        draw=draw,
    )


def _record(
    decision: Decision,
    *,
    key: ServedKey,
    prompt: Prompt,
    inputs: Inputs,
    dispatch_id: UUID,
    policy_id: int | None,
    reason: str,
    now: datetime,
) -> DispatchRecord:
    """What the log keeps of the request and of its decision."""
    return DispatchRecord(
        id=dispatch_id,
        created_at=now,
        tenant_id=key.tenant.id,
        api_key_id=key.id,
        end_user=prompt.end_user,
        task=inputs.task,
        tags=inputs.tags,
        requested_model=prompt.model,
        policy_id=policy_id,
        policy_version=decision.version,
        rule=decision.rule or "",
        strategy=None if decision.plan is None else decision.plan.strategy,
        reason=_reason(decision, reason),
        stream=prompt.request.stream,
    )


def _reason(decision: Decision, words: str) -> Mapping[str, object]:
    return {
        "words": words,
        "failed": failed_kinds(decision.trace),
        "dropped": [
            {"model": drop.model, "reason": drop.reason, "detail": drop.detail} for drop in decision.dropped
        ],
    }
