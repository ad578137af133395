"""A hard kill switch cuts what is in flight; any other lets it finish."""

import json
import threading
import time
from typing import Any

import httpx
import pytest

from policies_app.models import KillSwitch
from policies_app.routing.codes import KillScope
from policies_app.services.kill_switches import throw_kill_switch
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.running_servers import RunningGateway, Shop, attempt_rows, dispatch_rows, open_shop

STORY = {
    "model": "auto",
    "messages": [{"role": "user", "content": "Tell me a story in 400 words"}],
    "user": "ann",
}
LONG_STREAM = Fault(chunk_delay_ms=50)
PATIENCE_S = 10.0


@pytest.fixture
def shop(vendor: SandboxServer, gateway: RunningGateway) -> Shop:
    shop = open_shop(vendor)
    gateway.catch_up()
    return shop


def subject_of(scope: KillScope, shop: Shop) -> dict[str, Any]:
    subjects: dict[KillScope, dict[str, Any]] = {
        KillScope.EVERYTHING: {},
        KillScope.PROVIDER: {"provider": shop.fleet.provider},
        KillScope.MODEL: {"model": shop.fleet.small},
        KillScope.POLICY: {"policy": shop.policy},
        KillScope.RULE: {"policy": shop.policy, "rule_name": shop.policy.rules.get().name},
        KillScope.TENANT: {"tenant": shop.tenant},
        KillScope.API_KEY: {"api_key": shop.tenant.api_keys.get()},
        KillScope.END_USER: {"tenant": shop.tenant, "end_user": "ann"},
    }
    return subjects[scope]


def kill(scope: KillScope, shop: Shop, *, hard: bool) -> None:
    throw_kill_switch(scope=scope, reason="drill", author_name="ops", hard=hard, **subject_of(scope, shop))


def read_stream(gateway: RunningGateway, shop: Shop, *, after_first: Any) -> list[str]:
    """The data of every event; `after_first` is called when the first is there."""
    events: list[str] = []
    with httpx.stream(
        "POST",
        f"{gateway.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {shop.key}"},
        json=STORY | {"stream": True},
        timeout=60,
    ) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                events.append(line.removeprefix("data: "))
                if len(events) == 1:
                    after_first()
    return events


@pytest.mark.parametrize("scope", list(KillScope))
def test_a_hard_switch_of_any_scope_cuts_a_stream_in_flight(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, scope: KillScope
) -> None:
    vendor.script(LONG_STREAM)
    thrown_at = 0.0

    def throw() -> None:
        nonlocal thrown_at
        kill(scope, shop, hard=True)
        thrown_at = time.monotonic()

    events = read_stream(gateway, shop, after_first=throw)

    assert time.monotonic() - thrown_at < PATIENCE_S  # of more than twenty that it would go on
    assert json.loads(events[-1])["error"]["code"] == "killed"
    assert "[DONE]" not in events
    (dispatch,), (attempt,) = dispatch_rows(), attempt_rows()
    assert (dispatch["status"], dispatch["error_code"]) == ("failed", "killed")
    assert (attempt["state"], attempt["fault"], attempt["estimated"]) == ("settled", "killed", True)
    assert vendor.ledger.total_nanos <= attempt["cost_nanos"] == attempt["reserved_nanos"]


def test_what_a_switch_that_is_not_hard_stops_is_finished_where_it_has_begun(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    vendor.script(Fault(chunk_delay_ms=2))

    def throw() -> None:
        kill(KillScope.EVERYTHING, shop, hard=False)
        gateway.catch_up()

    events = read_stream(gateway, shop, after_first=throw)

    assert events[-1] == "[DONE]"
    assert dispatch_rows()[0]["status"] == "succeeded"


def test_what_others_ask_for_goes_on(vendor: SandboxServer, gateway: RunningGateway, shop: Shop) -> None:
    vendor.script(Fault(chunk_delay_ms=2))

    def throw() -> None:
        throw_kill_switch(
            scope=KillScope.MODEL, model=shop.fleet.frontier, reason="drill", author_name="ops", hard=True
        )
        gateway.catch_up()

    assert read_stream(gateway, shop, after_first=throw)[-1] == "[DONE]"


def test_a_call_that_is_cut_is_asked_of_the_next_model_where_only_the_model_is_killed(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    vendor.script(Fault(delay_ms=30_000), model="sandbox-small")
    answers: list[httpx.Response] = []
    caller = threading.Thread(
        target=lambda: answers.append(gateway.post("/v1/chat/completions", shop.key, json=STORY))
    )
    caller.start()
    await_attempts(1)

    kill(KillScope.MODEL, shop, hard=True)
    caller.join(timeout=PATIENCE_S)

    assert answers[0].json()["model"] == "mid"
    first, second = attempt_rows()
    assert (first["fault"], first["cost_nanos"]) == ("killed", first["reserved_nanos"])
    assert second["fault"] == ""


def test_an_expired_switch_cuts_nothing(vendor: SandboxServer, gateway: RunningGateway, shop: Shop) -> None:
    kill(KillScope.EVERYTHING, shop, hard=True)
    KillSwitch.objects.update(expires_at=KillSwitch.objects.get().created_at)
    gateway.catch_up()
    vendor.script(Fault(chunk_delay_ms=2))

    assert read_stream(gateway, shop, after_first=lambda: None)[-1] == "[DONE]"


def await_attempts(number: int) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while len(attempt_rows()) < number:
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
