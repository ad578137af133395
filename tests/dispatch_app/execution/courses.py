"""One dispatch between acting models, a ledger in memory and health as a test wants it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dispatch_app.execution.canonical import Reply, Request
from dispatch_app.execution.dispatcher import Dispatch, StreamTail
from dispatch_app.execution.drains import Drains
from dispatch_app.execution.hedge_budget import HedgeBudget
from dispatch_app.execution.ports import (
    NO_CREDENTIAL,
    Credential,
    Finding,
    ModelRates,
)
from dispatch_app.execution.shrinking import Rooms, no_rooms
from policies_app.routing.codes import AttemptRole, Strategy
from policies_app.routing.types import Candidate, Facts, Judge, PlannedJudge, RoutePlan
from policies_app.routing.validators import Validator
from tests.dispatch_app.execution.acting_fleet import Act, ActingFleet
from tests.dispatch_app.execution.dispatches import make_dispatch, retries_left
from tests.dispatch_app.execution.health import ScriptedHealth
from tests.dispatch_app.execution.in_memory_ledger import InMemoryLedger
from tests.dispatch_app.execution.scripted_upstream import CollectingSink
from tests.dispatch_app.routing_values import make_candidate, make_facts

JUDGE = Judge(
    name="helpfulness",
    version=2,
    model="judge",
    instructions="You rate answers.",
    rubric="Is it right?",
    lowest=0,
    highest=10,
    verdicts={},
    default=0.0,
    timeout_ms=1_000,
    max_output_tokens=5,
)


def target(name: str, *validators: Validator, number: int = 1, cost: int = 1, **changes: Any) -> Candidate:
    """One token of any kind costs `cost` nano-dollars."""
    candidate = make_candidate(
        name, number=number, nanos_a_token=cost, timeout_ms=changes.pop("timeout_ms", None)
    )
    return msgspec.structs.replace(candidate, validators=validators, **changes)


def planned(judge: Judge = JUDGE, *, number: int = 9) -> PlannedJudge:
    candidate = make_candidate(judge.model, number=number)
    return PlannedJudge(judge=judge, model=candidate.model, price=candidate.price)


@dataclass(kw_only=True)
class Course:
    """`plan` and `fields` change what is asked; run it once by `complete` or `stream`."""

    strategy: Strategy
    targets: Sequence[Candidate]
    acts: Mapping[str, Act | Sequence[Act]]
    plan: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    facts: Facts = field(default_factory=make_facts)
    choices: int = 1
    max_attempts: int = 6
    deadline_s: float = 5.0
    seed: int = 1
    hedges_earned: int = 100
    retries: int = 0
    ledger: InMemoryLedger = field(default_factory=InMemoryLedger)
    health: ScriptedHealth = field(default_factory=ScriptedHealth)
    rooms: Rooms = no_rooms
    drains: Drains = field(default_factory=Drains)
    rates: ModelRates | None = None
    credentials: Sequence[Credential] = (NO_CREDENTIAL,)
    sink: CollectingSink = field(default_factory=CollectingSink)
    fleet: ActingFleet = field(init=False)
    dispatch: Dispatch = field(init=False)

    def __post_init__(self) -> None:
        self.fleet = ActingFleet(
            acts={name: [acts] if isinstance(acts, Act) else list(acts) for name, acts in self.acts.items()}
        )

    async def complete(self) -> Reply:
        self.dispatch = self._dispatch(stream=False)
        return await self.dispatch.complete()

    async def stream(self) -> StreamTail:
        self.dispatch = self._dispatch(stream=True)
        return await self.dispatch.stream(self.sink)

    async def text(self) -> str:
        return str((await self.complete()).choices[0].message["content"])

    async def streamed_text(self) -> str:
        """What the client has read when the stream is complete."""
        tail = await self.stream()
        said = [choice.delta.get("content") or "" for part in tail.parts for choice in part.choices]
        return self.sink.text + "".join(said)

    @property
    def story(self) -> list[tuple[str, AttemptRole]]:
        """Who was asked, and as what."""
        by_id = {call.candidate.model.id: call.candidate.model.name for call in self.fleet.calls}
        return [(by_id.get(attempt.model_id, "?"), attempt.role) for attempt in self.ledger.attempts]

    def findings(self, model: str) -> list[Finding]:
        """What the validators found in the answers of one model."""
        return [
            finding
            for past in self.dispatch.progress.past
            if past.candidate.model.name == model
            for finding in past.settlement.validation
        ]

    def cost(self, model: str) -> int:
        """What the attempts at one model were charged."""
        return sum(
            past.settlement.cost_nanos
            for past in self.dispatch.progress.past
            if past.candidate.model.name == model
        )

    def _dispatch(self, *, stream: bool) -> Dispatch:
        plan = RoutePlan(
            **{
                "rule": "default",
                "strategy": self.strategy,
                "candidates": tuple(self.targets),
                "deadline_ms": int(self.deadline_s * 1000),
                "max_attempts": self.max_attempts,
                **self.plan,
            }
        )
        request = Request(
            fields={"messages": [{"role": "user", "content": "2 + 2?"}], **self.fields},
            stream=stream,
            choices=self.choices,
        )
        hedges = HedgeBudget()
        for _ in range(self.hedges_earned):
            hedges.count()
        return make_dispatch(
            plan,
            request=request,
            ledger=self.ledger,
            upstream=self.fleet,
            order={"facts": self.facts, "seed": self.seed, "rooms": self.rooms},
            ports={
                "retries": retries_left(self.retries),
                "hedges": hedges,
                "health": self.health,
                "drains": self.drains,
                "rates": self.rates,
                "credentials_of": lambda _candidate: self.credentials,
            },
        )
