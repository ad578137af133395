"""What Prometheus scrapes, read by its own parser."""

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from dispatch_app.health.tally import Metric
from dispatch_app.models import MetricCount
from policies_app.routing.codes import FaultClass, HealthState
from tests.dispatch_app.health.target_rows import make_process, make_target
from tests.factories import Fleet, make_fleet
from tests.personas import make_admin

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_tables")]
TOKEN = "let-monitoring-in"


@pytest.fixture
def fleet() -> Fleet:
    return make_fleet()


@pytest.fixture(autouse=True)
def token(settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN


def count(metric: Metric, value: int, *, model_id: int = 0, label: str = "") -> None:
    MetricCount.objects.create(metric=metric, model_id=model_id, label=label, value=value)


def scrape(client: Client) -> dict[str, dict[tuple[str, ...], float]]:
    """By sample name: values by the values of the labels, in the order of the labels' names."""
    answer = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[
                tuple(value for _, value in sorted(sample.labels.items()))
            ] = sample.value
    return samples


def test_attempts_by_model_and_outcome(fleet: Fleet, client: Client) -> None:
    count(Metric.ATTEMPTS, 90, model_id=fleet.small.pk, label="answered")
    count(Metric.ATTEMPTS, 7, model_id=fleet.small.pk, label=FaultClass.RATE_LIMITED)
    count(Metric.ATTEMPTS, 1, model_id=999_999, label="answered")

    attempts = scrape(client)["signalbox_attempts_total"]

    provider = fleet.provider.name
    assert attempts == {
        ("small", "answered", provider): 90,
        ("small", "rate_limited", provider): 7,
        ("model 999999", "answered", ""): 1,
    }


def test_latency_as_a_cumulative_histogram(fleet: Fleet, client: Client) -> None:
    for label, calls in (("100", 3), ("250", 2), ("300000", 1), ("longer", 1)):
        count(Metric.FIRST_BYTE_BUCKET, calls, model_id=fleet.small.pk, label=label)
    count(Metric.FIRST_BYTE_SUM, 1_500, model_id=fleet.small.pk)

    samples = scrape(client)

    name = ("small", fleet.provider.name)
    buckets = samples["signalbox_attempt_first_byte_seconds_bucket"]
    assert [buckets[bound, *name] for bound in ("0.05", "0.1", "0.25", "120.0", "300.0", "+Inf")] == [
        0, 3, 5, 5, 6, 7,
    ]  # fmt: skip
    assert samples["signalbox_attempt_first_byte_seconds_count"][name] == 7
    assert samples["signalbox_attempt_first_byte_seconds_sum"][name] == 1.5


def test_breakers_and_cooldowns_over_all_processes(fleet: Fleet, client: Client) -> None:
    first, second = make_process(), make_process()
    make_target(first, fleet.small, state=HealthState.OPEN, cause="failures", remaining_s=12)
    make_target(second, fleet.small, state=HealthState.OPEN, cause="failures", remaining_s=40)
    make_target(second, fleet.mid)

    samples = scrape(client)

    provider = fleet.provider.name
    processes = samples["signalbox_target_processes"]
    assert processes["", "small", provider, "", "open"] == 2
    assert processes["", "small", provider, "", "healthy"] == 0
    assert processes["", "mid", provider, "", "healthy"] == 1
    [(labels, seconds)] = samples["signalbox_target_blocked_seconds"].items()
    assert labels == ("failures", "", "small", provider, "")
    assert 38 < seconds < 42


def test_budgets_and_load_over_all_processes(client: Client) -> None:
    make_process(in_flight=3, retries_left=13, hedges_left=1)
    make_process(in_flight=4, retries_left=3, hedges_left=0, is_stopped=True)
    count(Metric.RETRIES, 5, label="spent")
    count(Metric.RETRIES, 2, label="refused")
    count(Metric.HEDGES, 1, label="spent")

    samples = scrape(client)

    assert samples["signalbox_serving_processes"] == {(): 2}
    assert samples["signalbox_stopped_processes"] == {(): 1}
    assert samples["signalbox_dispatches_in_flight"] == {(): 7}
    assert samples["signalbox_retry_budget"] == {(): 16}
    assert samples["signalbox_hedge_budget"] == {(): 1}
    assert samples["signalbox_retries_total"] == {("spent",): 5, ("refused",): 2}
    assert samples["signalbox_hedges_total"] == {("spent",): 1, ("refused",): 0}


def test_names_cannot_break_the_format(client: Client, fleet: Fleet) -> None:
    make_target(make_process(), fleet.small, region='eu"}\nevil 1')

    assert "evil" not in scrape(client)


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"bearer {TOKEN} x", "Bearer ü"]
)
def test_nobody_reads_it_without_the_token(client: Client, header: str | None) -> None:
    client.force_login(make_admin())
    answer = client.get("/metrics", headers={} if header is None else {"authorization": header})

    assert answer.status_code == 401
    assert b"signalbox" not in answer.content


def test_without_a_token_in_the_settings_there_is_nothing_to_read(client: Client, settings: Settings) -> None:
    settings.METRICS_TOKEN = ""

    for header in ("Bearer ", "Bearer", ""):
        assert client.get("/metrics", headers={"authorization": header}).status_code == 404
