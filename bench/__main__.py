"""`make bench`: what a plain dispatch costs, with everything on.

One web worker of the real server, PostgreSQL with fsync on, a real API key, a policy of 20 rules, hard budgets at tenant and
end user, a zero-delay local upstream. Latency is compared with calling that upstream directly, in the same run. What a
decision costs by the number of rules, and translation between formats, is measured first, while nothing else runs, and then
the ledger alone; `--only ledger` measures nothing else.
"""

import argparse
import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routerproject.settings")
django.setup()

from bench.database import empty_database, logged_dispatches, postgres_pid  # noqa: E402 — models need the set-up
from bench.decisions import measure_decisions  # noqa: E402
from bench.fixtures import BenchTenant, create_bench_tenant  # noqa: E402
from bench.gateway import RunningGateway, fast_upstream, gateway  # noqa: E402
from bench.ledger import measure_ledger  # noqa: E402
from bench.load import LoadResult, run_load  # noqa: E402
from bench.processes import cpu_seconds, resident_bytes  # noqa: E402
from bench.report import Bar, Report  # noqa: E402
from bench.translation import measure_translation  # noqa: E402
from dispatch_app.collector import spare_the_collector  # noqa: E402
from policies_app.models import Tenant  # noqa: E402

RESULTS = Path(__file__).resolve().parent.parent / "var" / "bench"
REQUESTS_BY_IN_FLIGHT = {1: 1_500, 32: 12_000, 256: 12_000}
CPU_BAR_MS = 0.6
CPU_BAR_IN_FLIGHT = 32
MEMORY_BAR_MB = 150.0


@dataclass(slots=True, kw_only=True)
class Bench:
    """One run: where the gateway and its upstream are, and what was acknowledged so far."""

    running: RunningGateway
    upstream_url: str
    tenant: BenchTenant
    postgres: int
    acknowledged: list[str] = field(default_factory=list)

    def direct(self, *, in_flight: int, requests: int) -> LoadResult:
        """Load the upstream itself."""
        url = f"{self.upstream_url}/chat/completions"
        return _load(url, "none", "sandbox-small", in_flight=in_flight, requests=requests)

    def dispatched(self, *, in_flight: int, requests: int) -> LoadResult:
        """Load the gateway, and remember what it acknowledged."""
        url = f"{self.running.base_url}/v1/chat/completions"
        result = _load(url, self.tenant.api_key, self.tenant.policy, in_flight=in_flight, requests=requests)
        self.acknowledged += result.dispatch_ids
        return result

    def cpu_seconds(self) -> tuple[float, float]:
        """What the web process and PostgreSQL have used so far."""
        return cpu_seconds(self.running.web_pid), cpu_seconds(self.postgres)


def main() -> int:
    """Run on an empty database and report; the exit code is 1 when a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--only", choices=["ledger"], help="measure nothing else")
    return measure_the_ledger() if parser.parse_args().only else measure_all()


def measure_the_ledger() -> int:
    """Only what begin and settle cost."""
    report = Report(name="bench-ledger")
    spare_the_collector()
    with empty_database():
        measure_ledger(report, Tenant.objects.create(name="ledger"))
    return report.finish(RESULTS)


def measure_all() -> int:
    """Everything, the ledger included."""
    report = Report(name="bench")
    measure_decisions(report)
    spare_the_collector()
    measure_translation(report)
    with empty_database(), fast_upstream() as upstream_url:
        tenant = create_bench_tenant(upstream_url=upstream_url)
        measure_ledger(report, Tenant.objects.create(name="ledger"))
        with gateway() as running:
            bench = Bench(running=running, upstream_url=upstream_url, tenant=tenant, postgres=postgres_pid())
            idle_mb = resident_bytes(running.web_pid) / 2**20
            for in_flight, requests in REQUESTS_BY_IN_FLIGHT.items():
                measure(report, bench, in_flight=in_flight, requests=requests)
        lost = len(bench.acknowledged) - logged_dispatches(bench.acknowledged)
    report.add_figures(acknowledged=len(bench.acknowledged), lost_rows=lost, idle_web_mb=idle_mb)
    report.bars += [
        Bar(name="acknowledged dispatches without a settled row", figure=lost, at_most=0, unit="rows"),
        Bar(name="memory of an idle web worker", figure=idle_mb, at_most=MEMORY_BAR_MB, unit="MB"),
    ]
    return report.finish(RESULTS)


def measure(report: Report, bench: Bench, *, in_flight: int, requests: int) -> None:
    """Add the figures of one concurrency, after a tenth of the requests as warm-up."""
    direct = bench.direct(in_flight=in_flight, requests=requests)
    bench.dispatched(in_flight=in_flight, requests=requests // 10)
    web_before, postgres_before = bench.cpu_seconds()
    dispatched = bench.dispatched(in_flight=in_flight, requests=requests)
    web_after, postgres_after = bench.cpu_seconds()
    web_ms = (web_after - web_before) / requests * 1000
    report.add_figures(
        in_flight=in_flight,
        requests_per_second=round(dispatched.requests_per_second),
        added_p50_ms=dispatched.percentile_ms(50) - direct.percentile_ms(50),
        added_p99_ms=dispatched.percentile_ms(99) - direct.percentile_ms(99),
        web_cpu_ms=web_ms,
        postgres_cpu_ms=(postgres_after - postgres_before) / requests * 1000,
        failures=dispatched.failures,
    )
    if in_flight == CPU_BAR_IN_FLIGHT:
        name = f"web CPU of a plain dispatch at {in_flight} in flight"
        report.bars.append(Bar(name=name, figure=web_ms, at_most=CPU_BAR_MS, unit="ms"))
    failed = f"failed requests at {in_flight} in flight"
    report.bars.append(Bar(name=failed, figure=dispatched.failures, at_most=0, unit="requests"))


def _load(url: str, api_key: str, model: str, *, in_flight: int, requests: int) -> LoadResult:
    body = _body(model)
    return asyncio.run(run_load(url=url, api_key=api_key, body=body, in_flight=in_flight, requests=requests))


def _body(model: str) -> bytes:
    """A request of some 500 bytes, as a support desk might send it."""
    question = "My parcel has not arrived; it was promised for last Tuesday. " * 4
    return json.dumps(
        {
            "model": model,
            "messages": [
                {"role": "system", "content": "You are a concise assistant for a support desk."},
                {"role": "user", "content": question},
            ],
            "max_tokens": 200,
            "user": "user-1",
            "metadata": {"task": "bench"},
        }
    ).encode()


if __name__ == "__main__":
    sys.exit(main())
