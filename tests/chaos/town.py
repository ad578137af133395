"""The web processes on the ground, the vendor that they call, and how they come and go."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.db import connections

from policies_app.models import Policy
from policies_app.routing.codes import Strategy
from sandbox.server import SandboxServer
from tests.chaos.ground import Ground
from tests.factories import Fleet, make_policy, make_rule
from tests.running_servers import (
    START_PATIENCE_S,
    RunningGateway,
    _free_port,
    _is_ready,
    _spawn,
    _wait_for,
    make_sandbox_fleet,
    publish,
)

STRATEGIES = (Strategy.FAILOVER, Strategy.HEDGED, Strategy.PARALLEL)
DRAINING = "chaos-draining"
DRAIN_MS = 1_500
"""The policy whose answers are read on for so long when their client hangs up; the others cut them at once."""


@dataclass(slots=True, kw_only=True)
class Town:
    """Some web processes, the vendor with its ledger, and a policy a strategy."""

    ground: Ground
    vendor: SandboxServer
    fleet: Fleet
    policies: dict[Strategy, Policy]
    gateways: list[RunningGateway] = field(default_factory=list)

    def have(self, count: int) -> list[RunningGateway]:
        """Bring the web processes to so many that live and serve all edits; answer them."""
        connections.close_all()  # PostgreSQL may have been killed since.
        self.gateways = [running for running in self.gateways if running.process.poll() is None]
        while len(self.gateways) > count:
            self.gateways.pop().stop()
        self.gateways += [
            _spawn(_free_port(), {"LEDGER_PATIENCE_MS": "250"}) for _ in range(count - len(self.gateways))
        ]
        for running in self.gateways:
            _wait_for(
                lambda running=running: _is_ready(running), patience_s=START_PATIENCE_S * 2, what="a gateway"
            )
            running.catch_up()
        return list(self.gateways)

    def kill(self, running: RunningGateway) -> None:
        """Kill one without warning."""
        running.process.kill()
        running.process.wait()

    @property
    def wire_names(self) -> dict[int, str]:
        """What the vendor calls each model, by its row."""
        return {model.pk: model.wire_name for model in (self.fleet.small, self.fleet.mid)}

    def calls_by_nonce(self) -> Counter[str]:
        """How often the vendor was called for each nonce."""
        return Counter(
            entry.prompt.partition("[")[2].partition("]")[0] for entry in self.vendor.ledger.entries
        )


@contextlib.contextmanager
def open_town(ground: Ground, vendor: SandboxServer) -> Iterator[Town]:
    """Create the rows that everybody shares; all web processes end with the block."""
    fleet = make_sandbox_fleet(vendor.base_url)
    policies = {
        strategy: _policy(f"chaos-{strategy}", strategy, fleet) for strategy in (*STRATEGIES, Strategy.SINGLE)
    }
    _policy(DRAINING, Strategy.FAILOVER, fleet, drain_ms=DRAIN_MS)
    town = Town(ground=ground, vendor=vendor, fleet=fleet, policies=policies)
    try:
        yield town
    finally:
        for running in town.gateways:
            running.process.kill()
            running.process.wait()


def _policy(name: str, strategy: Strategy, fleet: Fleet, **route: int) -> Policy:
    policy = make_policy(name)
    if strategy is Strategy.HEDGED:
        route["hedge_delay_ms"] = 20
    models = [fleet.small] if strategy is Strategy.SINGLE else [fleet.small, fleet.mid]
    make_rule(policy, "default", models=models, strategy=strategy, is_default=True, **route)
    publish(policy)
    return policy
