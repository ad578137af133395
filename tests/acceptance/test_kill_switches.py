"""Each scope of a kill switch, from the save to a caller's answer: it stops its subject, and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from policies_app.routing.codes import KillScope
from policies_app.services.kill_switches import lift_kill_switch, throw_kill_switch
from sandbox.server import SandboxServer
from tests.factories import make_key, make_policy, make_tenant
from tests.running_servers import RunningGateway, Shop, attempt_rows, open_shop, publish

pytestmark = pytest.mark.processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, for what."""

    key: str
    model: str = "auto"
    user: str = "mia"

    def ask(self, gateway: RunningGateway) -> tuple[int, str]:
        """Status of the answer, and the model that gave it or the error's code."""
        body = {
            "model": self.model,
            "user": self.user,
            "messages": [{"role": "user", "content": "How are you?"}],
        }
        answer = gateway.post("/v1/chat/completions", self.key, json=body)
        told = answer.json()
        return answer.status_code, told["error"]["code"] if "error" in told else answer.headers[
            "x-dispatch-model"
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A switch's subject, whom the switch must leave alone, and what the stopped caller is told."""

    subject: Callable[[Shop], Mapping[str, Any]]
    bystander: Callable[[Shop], Caller] | None
    answer: tuple[int, str] = (503, "killed")


def _other_policy(shop: Shop) -> Caller:
    publish(make_policy("other", models=[shop.fleet.small]))
    return Caller(key=shop.key, model="other")


def _api_key(shop: Shop) -> Mapping[str, Any]:
    return {"api_key": shop.tenant.api_keys.get()}


CASES = {
    KillScope.EVERYTHING: Case(subject=lambda _shop: {}, bystander=None),
    KillScope.PROVIDER: Case(subject=lambda shop: {"provider": shop.fleet.provider}, bystander=None),
    KillScope.MODEL: Case(
        subject=lambda shop: {"model": shop.fleet.small}, bystander=None, answer=(200, "mid")
    ),
    KillScope.POLICY: Case(subject=lambda shop: {"policy": shop.policy}, bystander=_other_policy),
    KillScope.RULE: Case(
        subject=lambda shop: {"policy": shop.policy, "rule_name": shop.policy.rules.get().name},
        bystander=_other_policy,
    ),
    KillScope.TENANT: Case(
        subject=lambda shop: {"tenant": shop.tenant},
        bystander=lambda _shop: Caller(key=make_key(make_tenant()).text),
    ),
    KillScope.API_KEY: Case(subject=_api_key, bystander=lambda shop: Caller(key=make_key(shop.tenant).text)),
    KillScope.END_USER: Case(
        subject=lambda shop: {"tenant": shop.tenant, "end_user": "mia"},
        bystander=lambda shop: Caller(key=shop.key, user="max"),
    ),
}


@pytest.mark.parametrize("scope", KillScope)
def test_a_switch_stops_its_subject_until_it_is_lifted_and_nothing_else(
    gateway: RunningGateway, vendor: SandboxServer, scope: KillScope
) -> None:
    case, shop = CASES[scope], open_shop(vendor)
    caller = Caller(key=shop.key)
    subject = case.subject(shop)
    bystander = None if case.bystander is None else case.bystander(shop)
    gateway.catch_up()
    assert caller.ask(gateway) == (200, "small")

    switch = throw_kill_switch(scope=scope, reason="drill", author_name="test", **subject)
    at_once = caller.ask(gateway)
    gateway.catch_up()
    followed = caller.ask(gateway)

    assert at_once == followed == case.answer
    assert len(attempt_rows()) == (1 if case.answer[0] == 503 else 3)
    assert bystander is None or bystander.ask(gateway) == (200, "small")

    lift_kill_switch(switch=switch, author_name="test")
    gateway.catch_up()
    assert caller.ask(gateway) == (200, "small")
