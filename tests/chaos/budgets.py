"""Bar 1: hard budgets of three levels under many callers, several processes, and processes that are killed.

The vendor's own ledger says what was spent. A trial has a tenant of its own, whose budgets are filled to the brim.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from django.db import connections

from dispatch_app.ledger.sweep import expire_attempts
from policies_app.models import Budget, Tenant
from policies_app.routing.codes import BudgetScope, Strategy
from sandbox.faults import Fault, FaultKind
from tests.chaos.callers import Crowd, Told, chat, session
from tests.chaos.ground import await_nothing_open, rows
from tests.chaos.town import STRATEGIES, Town
from tests.factories import IssuedKey, make_budget, make_key, make_tenant

SETTLING_S = 5.0
MOST_FILLING = 10_000
OUTPUT_TOKENS = 200
ENDLESS = "word " * OUTPUT_TOKENS
"""Uses all the output that there may be, so that what is billed comes close to what was reserved, and a limit is met closely.

The vendor generates all of it at once, and bills it, whoever hangs up meanwhile.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetFigures:
    """The worst of the trials, in nano-dollars. `excess_nanos` below zero is room that was left."""

    excess_nanos: int
    booked_excess_nanos: int
    left_reserved_nanos: int
    below_truth_nanos: int
    admitted: int
    refused: int
    kills: int
    left_open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FillFigures:
    """How full a budget was when a call was refused with nothing in flight, and refusals that had no ground."""

    unused_share: float
    groundless_refusals: int
    calls: int


@dataclass(slots=True, kw_only=True)
class _Trial:
    town: Town
    chance: Random
    name: str
    callers: int
    calls: int
    tenant: Tenant = field(init=False)
    keys: list[IssuedKey] = field(init=False)
    users: tuple[str, ...] = ("ann", "bob", "eve")

    def open(self, reserved_nanos: int) -> None:
        """Create the tenant; its budgets hold less than what the callers would spend."""
        expected = self.callers * self.calls * reserved_nanos
        self.tenant = make_tenant(self.name)
        self.keys = [make_key(self.tenant), make_key(self.tenant)]
        limits = (self.chance.randrange(expected // 14, expected // 7) for _ in range(3))
        make_budget(self.tenant, limit_nanos=next(limits))
        make_budget(self.tenant, limit_nanos=next(limits) // 3, scope=BudgetScope.END_USER)
        if self.chance.random() < 0.5:
            make_budget(
                self.tenant,
                limit_nanos=next(limits) // 2,
                scope=BudgetScope.API_KEY,
                api_key=self.keys[0].row,
            )
        else:
            policy = self.town.policies[self.chance.choice(STRATEGIES)]
            make_budget(self.tenant, limit_nanos=next(limits) // 3, scope=BudgetScope.POLICY, policy=policy)

    async def run(self, *, kills: int) -> list[Told]:
        crowd = Crowd(gateways=list(self.town.gateways))
        async with session() as calls:
            callers = asyncio.gather(*(self._caller(crowd, calls, number) for number in range(self.callers)))
            for _ in range(kills):
                await asyncio.sleep(self.chance.uniform(0.05, 0.8))
                victim = self.chance.choice(crowd.gateways)
                crowd.gateways.remove(victim)
                await asyncio.to_thread(self.town.kill, victim)
            await callers
        return crowd.told

    async def _caller(self, crowd: Crowd, calls: object, number: int) -> None:
        key, user = self.keys[number % 2], self.users[number % 3]
        for turn in range(self.calls):
            policy = f"chaos-{STRATEGIES[(number + turn) % len(STRATEGIES)]}"
            nonce = f"{self.name}/{number}/{turn}/{user}/{number % 2}/{policy}"
            for _ in range(3):  # a caller whose process is gone tries elsewhere
                told = await crowd.call(calls, key.text, _request(policy, nonce, user=user))  # type: ignore[arg-type]
                if told.status != 0:
                    break

    def truth_nanos(self, budget: Budget, subject: str) -> int:
        """What the vendor billed for all that this balance stands for."""
        needle = f"{self.name}/"
        return sum(
            entry.cost_nanos
            for entry in self.town.vendor.ledger.entries
            if needle in entry.prompt
            and self._concerns(budget, subject, entry.prompt.partition("]")[0].split("/"))
        )

    def _concerns(self, budget: Budget, subject: str, nonce: Sequence[str]) -> bool:
        _, _, _, user, key, policy = nonce
        match budget.scope:
            case BudgetScope.END_USER:
                return user == subject
            case BudgetScope.API_KEY:
                return key == "0"
            case BudgetScope.POLICY:
                return budget.policy is not None and policy == budget.policy.name
            case _:
                return True


def run_budgets(
    town: Town, *, seed: int, callers: int, processes: int, kills: int, calls: int = 2
) -> BudgetFigures:
    """One trial. The same seed gives the same tenant, limits, faults and moments of killing."""
    chance = Random(seed)
    town.vendor.ledger.clear()
    town.vendor.clear_faults()
    town.vendor.script("503", model="sandbox-small", times=chance.randrange(callers // 4 + 1))
    town.vendor.script(
        Fault(kind=FaultKind.DELAY, delay_ms=chance.uniform(20, 150)),
        model="sandbox-small",
        times=callers // 3,
    )
    _let_answers_be_long(town)
    trial = _Trial(
        town=town, chance=chance, name=f"trial-{seed}-{time.time_ns()}", callers=callers, calls=calls
    )
    trial.open(_usual_reservation(town))
    town.have(processes)
    told = asyncio.run(trial.run(kills=kills))
    left_open = await_nothing_open(patience_s=0.5 if kills else SETTLING_S)
    sweep()
    town.vendor.clear_faults()
    return _figures(trial, told, kills=kills, left_open=left_open)


def sweep() -> None:
    """Charge what nobody will settle any more, as the sweep would in time."""
    connections.close_all()  # PostgreSQL may have been killed since.
    while expire_attempts(now=datetime.now(UTC) + timedelta(hours=1)):
        pass
    connections.close_all()


def _figures(trial: _Trial, told: list[Told], *, kills: int, left_open: int) -> BudgetFigures:
    balances = rows(
        "SELECT balance.* FROM budget_balance AS balance JOIN policies_app_budget AS budget ON budget.id = budget_id"
        " WHERE budget.tenant_id = %s",
        trial.tenant.pk,
    )
    budgets = {
        budget.pk: budget for budget in Budget.objects.filter(tenant=trial.tenant).select_related("policy")
    }
    judged = [
        (
            trial.truth_nanos(budgets[row["budget_id"]], row["subject"]),
            budgets[row["budget_id"]].limit_nanos,
            row,
        )
        for row in balances
    ]
    booked = [(row["settled_nanos"] + row["overage_nanos"], truth, limit) for truth, limit, row in judged]
    connections.close_all()
    return BudgetFigures(
        excess_nanos=max(truth - limit for truth, limit, _ in judged),
        booked_excess_nanos=max(spent - limit for spent, _, limit in booked),
        left_reserved_nanos=max(abs(row["reserved_nanos"]) for *_, row in judged),
        below_truth_nanos=max(0, *(truth - spent for spent, truth, _ in booked)),
        admitted=sum(answer.status == 200 for answer in told),
        refused=sum(answer.code == "insufficient_quota" for answer in told),
        kills=kills,
        left_open=left_open,
    )


def run_fill(town: Town, *, reservations: int, callers: int, processes: int) -> FillFigures:
    """Fill one budget of so many reservations; then call one by one until refused, and look at what was left."""
    town.vendor.clear_faults()
    _let_answers_be_long(town)
    reserved_nanos = _usual_reservation(town)
    tenant = make_tenant(f"fill-{time.time_ns()}")
    key = make_key(tenant).text
    budget = make_budget(tenant, limit_nanos=reservations * reserved_nanos + reserved_nanos // 2)
    crowd = Crowd(gateways=town.have(processes))
    groundless = asyncio.run(_fill(crowd, key, callers, budget, reserved_nanos))
    (balance,) = rows("SELECT * FROM budget_balance WHERE budget_id = %s", budget.pk)
    unused = budget.limit_nanos - balance["settled_nanos"] - balance["reserved_nanos"]
    connections.close_all()
    return FillFigures(
        unused_share=unused / budget.limit_nanos, groundless_refusals=groundless, calls=len(crowd.told)
    )


async def _fill(crowd: Crowd, key: str, callers: int, budget: Budget, reserved_nanos: int) -> int:
    """Answers how many were refused, with nothing in flight, though their reservation would have fitted."""
    async with session() as calls:

        async def caller(number: int) -> None:
            for turn in range(MOST_FILLING):
                told = await crowd.call(calls, key, _request("chaos-failover", f"fill/{number}/{turn}"))
                if told.status != 200:
                    return

        await asyncio.gather(*(caller(number) for number in range(callers)))
        groundless = 0
        for turn in range(MOST_FILLING):
            (balance,) = await asyncio.to_thread(
                rows, "SELECT * FROM budget_balance WHERE budget_id = %s", budget.pk
            )
            left = budget.limit_nanos - balance["settled_nanos"] - balance["reserved_nanos"]
            told = await crowd.call(calls, key, _request("chaos-failover", f"fill/0/last-{turn:04}"))
            if told.status != 200:
                return groundless + (left >= reserved_nanos)
        return groundless


def _request(policy: str, nonce: str, *, user: str = "") -> dict[str, object]:
    return chat(policy, nonce, user=user) | {"max_tokens": OUTPUT_TOKENS}


def _let_answers_be_long(town: Town) -> None:
    for prompt in ("chaos-", "fill/"):
        town.vendor.script(Fault(kind=FaultKind.CONTENT, content=ENDLESS), contains=prompt)


def _usual_reservation(town: Town) -> int:
    """What a small call reserves, as the log has it."""
    tenant = make_tenant(f"usual-{time.time_ns()}")
    key = make_key(tenant).text
    make_budget(tenant)
    (running,) = town.have(max(1, len(town.gateways)))[:1]
    body = _request(f"chaos-{Strategy.FAILOVER}", "fill/0/usual/ann/0/x")
    running.post("/v1/chat/completions", key, json=body).raise_for_status()
    (row,) = rows("SELECT max(reserved_nanos) AS nanos FROM attempt WHERE tenant_id = %s", tenant.pk)
    return int(row["nanos"])
