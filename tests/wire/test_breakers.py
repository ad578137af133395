"""Breakers in real web processes: what they spare callers, what they tell each other, and what people get to see."""

import re
import time
from collections.abc import Callable, Sequence

import pytest
from django.test import Client
from django.urls import reverse

from dispatch_app.health.targets import read_fleet
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.personas import make_ops
from tests.running_servers import RunningGateway, Shop, attempt_rows, open_shop

pytestmark = pytest.mark.processes
TOKEN = "let-monitoring-in"


@pytest.fixture
def shop(vendor: SandboxServer, transactional_db: None) -> Shop:
    return open_shop(vendor)


@pytest.fixture
def two(
    shop: Shop, gateway: RunningGateway, start_gateways: Callable[..., Sequence[RunningGateway]]
) -> Sequence[RunningGateway]:
    gateways = [gateway, *start_gateways(1)]
    for running in gateways:
        running.catch_up()
    return gateways


def ask(gateway: RunningGateway, shop: Shop) -> str:
    """The model that answered."""
    messages = [{"role": "user", "content": "Hi"}]
    return gateway.client(shop.key).chat.completions.create(model="auto", messages=messages).model


def words_of(model: str) -> list[str]:
    """How it fares. Of how many processes is left out: one of the session's own may be serving as well."""
    words = next(card.words for card in read_fleet().cards if card.model.name == model)
    return [re.sub(r" of \d+ process(es)?", "", sentence) for sentence in words]


def wait_until(holds: Callable[[], bool], *, within_s: float) -> None:
    give_up_at = time.monotonic() + within_s
    while not holds() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    assert holds(), words_of("small")


def test_a_failing_target_is_left_alone_until_a_probe_finds_it_well(
    vendor: SandboxServer, shop: Shop, two: Sequence[RunningGateway]
) -> None:
    one, other = two
    vendor.script(Fault(kind=FaultKind.STATUS, status=503), model="sandbox-small")
    for _ in range(8):
        assert ask(one, shop) == "mid"

    asked_of = [row["model_id"] for row in attempt_rows()]
    assert asked_of.count(shop.fleet.small.pk) == 5
    assert asked_of.count(shop.fleet.mid.pk) == 8

    # The other process has its own view: it would still ask.
    wait_until(lambda: words_of("small")[0].startswith("Open in 1,"), within_s=3)
    browser = Client()
    browser.force_login(make_ops())
    page = browser.get(reverse("health:page")).content.decode()
    assert "last fault: 503." in page

    vendor.clear_faults()
    assert ask(other, shop) == "small"
    wait_until(lambda: ask(one, shop) == "small", within_s=8)
    wait_until(lambda: words_of("small") == ["Healthy in 2."], within_s=3)


def test_a_long_rate_limit_spares_all_processes(
    vendor: SandboxServer, shop: Shop, two: Sequence[RunningGateway]
) -> None:
    one, other = two
    vendor.script(Fault(kind=FaultKind.STATUS, status=429, retry_after="90"), model="sandbox-small")
    assert ask(one, shop) == "mid"
    wait_until(lambda: "as told by another process" in words_of("small")[0], within_s=5)

    before = len(attempt_rows())
    assert ask(other, shop) == "mid"
    assert len(attempt_rows()) == before + 1  # small was not even asked


def test_a_target_without_an_alternative_is_asked_all_the_same(
    vendor: SandboxServer, shop: Shop, gateway: RunningGateway
) -> None:
    gateway.catch_up()
    vendor.script(Fault(kind=FaultKind.STATUS, status=500))
    for _ in range(6):
        response = gateway.post(
            "/v1/chat/completions",
            shop.key,
            json={"model": "auto", "messages": [{"role": "user", "content": "Hi"}]},
        )
        assert response.status_code == 502

    vendor.clear_faults()

    assert ask(gateway, shop) in {"small", "mid", "frontier"}


def test_every_process_tells_the_figures_of_all(
    shop: Shop, start_gateways: Callable[..., Sequence[RunningGateway]]
) -> None:
    one, other = two = start_gateways(2, SIGNALBOX_METRICS_TOKEN=TOKEN)
    for gateway, calls in ((one, 3), (other, 2)):
        for _ in range(calls):
            ask(gateway, shop)

    def scrape(gateway: RunningGateway) -> str:
        return gateway.get("/metrics", TOKEN).text

    provider = shop.fleet.provider.name
    told = f'signalbox_attempts_total{{model="small",outcome="answered",provider="{provider}"}} 5.0'
    wait_until(lambda: all(told in scrape(gateway) for gateway in two), within_s=6)
    serving = read_fleet().processes

    one.stop()

    assert told in scrape(other)
    assert f"signalbox_serving_processes {serving - 1}.0" in scrape(other)
    assert other.get("/metrics", "wrong").status_code == 401
