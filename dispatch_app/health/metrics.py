"""What monitoring may read, in Prometheus' text format: the same from every process, because all of it is in the database.

Counters outlive the processes that counted, so they never fall but with the database itself. Gauges are sums over the
processes that serve. One scrape of one address is a scrape of the whole installation.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from django.db.models.functions import Now
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.registry import Collector

from dispatch_app.alerts.kinds import DeliveryState
from dispatch_app.health.publication import FRESH_S
from dispatch_app.health.tally import BOUNDS_MS, LONGER, Metric
from dispatch_app.models import (
    AlertDelivery,
    MetricCount,
    ProcessLoad,
    ReconcileDifference,
    TargetHealth,
)
from dispatch_app.rollups.books import count_open_attempts
from dispatch_app.rollups.drain import measure_lag
from policies_app.models import Model
from policies_app.routing.codes import HealthState

TARGET_LABELS = ("provider", "model", "credential", "region")
MODEL_LABELS = ("provider", "model")

ModelNames = Mapping[int, tuple[str, str]]
"""Names of provider and model, by the model's id."""
Counts = Mapping[tuple[int, str], int]
"""Values of one metric by model id and label."""


def exposition() -> bytes:
    """Everything there is to scrape, as text."""
    registry = CollectorRegistry()
    registry.register(InstallationCollector())
    return generate_latest(registry)


class InstallationCollector(Collector):
    """Reads what the processes published, once a scrape."""

    def describe(self) -> Iterable[MetricFamily]:
        """Nothing: registering must not read the database."""
        return ()

    def collect(self) -> Iterator[MetricFamily]:
        """The metrics of the moment."""
        names = {
            pk: (provider, name)
            for pk, provider, name in Model.objects.values_list("pk", "provider__name", "name")
        }
        counts = _read_counts()
        yield from _of_targets()
        yield from _of_processes()
        yield _attempts(counts[Metric.ATTEMPTS], names)
        yield _durations(
            "signalbox_attempt_first_byte_seconds",
            "How long the first byte took, of attempts that answered.",
            buckets=counts[Metric.FIRST_BYTE_BUCKET],
            sums=counts[Metric.FIRST_BYTE_SUM],
            names=names,
        )
        yield _durations(
            "signalbox_attempt_duration_seconds",
            "How long the whole answer took.",
            buckets=counts[Metric.DURATION_BUCKET],
            sums=counts[Metric.DURATION_SUM],
            names=names,
        )
        yield _spending("signalbox_retries", "Retries of the same target.", counts[Metric.RETRIES])
        yield from _of_books()
        yield _spending("signalbox_hedges", "Hedged attempts.", counts[Metric.HEDGES])


def _read_counts() -> defaultdict[str, dict[tuple[int, str], int]]:
    counts: defaultdict[str, dict[tuple[int, str], int]] = defaultdict(dict)
    for metric, model_id, label, value in MetricCount.objects.values_list(
        "metric", "model_id", "label", "value"
    ):
        counts[metric][model_id, label] = value
    return counts


def _of_targets() -> Iterator[MetricFamily]:
    states = GaugeMetricFamily(
        "signalbox_target_processes",
        "In how many processes a target is in a state (healthy, half_open, cooling, open).",
        labels=(*TARGET_LABELS, "state"),
    )
    ejected = GaugeMetricFamily(
        "signalbox_target_blocked_seconds",
        "How long a target will not be called yet, at most in any process.",
        labels=(*TARGET_LABELS, "cause"),
    )
    processes: defaultdict[tuple[str, ...], int] = defaultdict(int)
    blocked: dict[tuple[str, ...], float] = {}
    fresh = TargetHealth.objects.filter(seen_at__gt=Now() - timedelta(seconds=FRESH_S)).annotate(
        read_at=Now()
    )
    for row in fresh:
        target = (row.provider, row.model, row.credential, row.region)
        for state in HealthState:
            processes[*target, state] += row.state == state
        if row.until is not None and row.until > row.read_at:
            seconds = (row.until - row.read_at).total_seconds()
            blocked[*target, row.cause] = max(seconds, blocked.get((*target, row.cause), 0.0))
    _fill(states, processes)
    _fill(ejected, blocked)
    yield states
    yield ejected


def _of_processes() -> Iterator[MetricFamily]:
    fresh = ProcessLoad.objects.filter(seen_at__gt=Now() - timedelta(seconds=FRESH_S))
    loads = list(fresh)
    yield GaugeMetricFamily("signalbox_serving_processes", "Processes that serve.", value=len(loads))
    yield GaugeMetricFamily(
        "signalbox_stopped_processes",
        "Processes that admit nothing, because of the break-glass file of their machine.",
        value=sum(load.is_stopped for load in loads),
    )
    yield GaugeMetricFamily(
        "signalbox_dispatches_in_flight",
        "Dispatches that are not over.",
        value=sum(load.in_flight for load in loads),
    )
    yield GaugeMetricFamily(
        "signalbox_retry_budget",
        "Retries of the same target that may be made now.",
        value=sum(load.retries_left for load in loads),
    )
    yield GaugeMetricFamily(
        "signalbox_hedge_budget",
        "Hedged attempts that may be made now.",
        value=sum(load.hedges_left for load in loads),
    )


def _of_books() -> Iterator[MetricFamily]:
    now = timezone.now()
    lag, under_way = measure_lag(), count_open_attempts(now=now)
    oldest_at = under_way.oldest_at or now
    yield GaugeMetricFamily(
        "signalbox_reconcile_differences",
        "Differences between log, budgets and rollups that stand.",
        value=ReconcileDifference.objects.filter(gone_at=None).count(),
    )
    yield GaugeMetricFamily(
        "signalbox_figures_lag_seconds",
        "How long ago that was up to which everything settled is in the figures.",
        value=max((now - lag.figures_until).total_seconds(), 0.0),
    )
    yield GaugeMetricFamily(
        "signalbox_oldest_open_attempt_seconds",
        "How long the oldest attempt has been under way.",
        value=max((now - oldest_at).total_seconds(), 0.0),
    )
    yield GaugeMetricFamily(
        "signalbox_alerts_undelivered",
        "Deliveries of alerts that are still tried.",
        value=AlertDelivery.objects.filter(state=DeliveryState.PENDING).count(),
    )


def _attempts(counts: Counts, names: ModelNames) -> MetricFamily:
    family = CounterMetricFamily(
        "signalbox_attempts",
        "Upstream calls by what they ended in: answered, or the class of the fault.",
        labels=(*MODEL_LABELS, "outcome"),
    )
    for (model_id, outcome), value in sorted(counts.items()):
        family.add_metric((*_name(model_id, names), outcome), value)
    return family


def _durations(
    name: str, documentation: str, *, buckets: Counts, sums: Counts, names: ModelNames
) -> MetricFamily:
    family = HistogramMetricFamily(name, documentation, labels=MODEL_LABELS)
    for model_id in sorted({model_id for model_id, _ in buckets}):
        family.add_metric(
            _name(model_id, names),
            buckets=_cumulative({label: value for (of, label), value in buckets.items() if of == model_id}),
            sum_value=sums.get((model_id, ""), 0) / 1000,
        )
    return family


def _cumulative(by_label: Mapping[str, int]) -> list[tuple[str, float]]:
    """Prometheus' buckets: how many were no longer than each bound, in seconds."""
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound_ms in BOUNDS_MS:
        total += by_label.get(str(bound_ms), 0)
        buckets.append((str(bound_ms / 1000), total))
    return [*buckets, ("+Inf", total + by_label.get(LONGER, 0))]


def _spending(name: str, documentation: str, counts: Counts) -> MetricFamily:
    family = CounterMetricFamily(
        name, f"{documentation} Refused: the budget had none left.", labels=("result",)
    )
    for result in ("spent", "refused"):
        family.add_metric((result,), counts.get((0, result), 0))
    return family


def _name(model_id: int, names: ModelNames) -> tuple[str, str]:
    """Names of provider and model; models that were deleted go by their number."""
    return names.get(model_id, ("", f"model {model_id}"))


def _fill(family: GaugeMetricFamily, values: Mapping[tuple[str, ...], float]) -> None:
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
