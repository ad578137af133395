"""`make chaos`: the promises about money, with real processes that are killed; each held against its bar.

`--only budgets` runs one part, `--trials`, `--dispatches` and `--away` say how much of it; `--seed` replays.
"""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.ground import ROOT, Ground, chaos_ground

PARTS = ("budgets", "acknowledged", "kills", "away", "once", "disconnects")
SHORT = {
    "trials": 1, "fill": 50, "callers": 24, "processes": 2, "dispatches": 60, "away": 2.0, "round": 2.5, "kill": 0.6,
    "keys": 1, "disconnects": 150,
}  # fmt: skip
LONG = {
    "trials": 200, "fill": 1_000, "callers": 256, "processes": 8, "dispatches": 300_000, "away": 60.0, "round": 20.0, "kill": 5.0,
    "keys": 100, "disconnects": 10_000,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and report; the exit code is 1 when a bar was missed."""
    options = _parse(arguments)
    os.environ["LOG_LEVEL"] = "CRITICAL"
    logging.disable(logging.CRITICAL)
    scratch = ROOT / "var" / "chaos"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder, chaos_ground(Path(folder) / "ground") as ground:
        return _run(ground, options)


def _run(ground: Ground, options: argparse.Namespace) -> int:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routerproject.settings")
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from bench.report import Report
    from sandbox.server import SandboxServer, serve_in_thread
    from tests.chaos import parts
    from tests.chaos.town import open_town

    call_command("migrate", verbosity=0)
    report = Report(name=options.name)
    with serve_in_thread(SandboxServer()) as vendor, open_town(ground, vendor) as town:
        for part in options.only or PARTS:
            began_at = time.monotonic()
            parts.MEASURES[part](report, town, options)
            report.add_figures(part=part, seed=options.seed, seconds=round(time.monotonic() - began_at, 1))
        with contextlib.suppress(Exception):
            connections.close_all()
    return report.finish(options.results)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--short", action="store_true", help="what the suite runs: seconds each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=ROOT / "var" / "bench")
    parser.add_argument("--name", default="chaos")
    for name, value in LONG.items():
        parser.add_argument(f"--{name}", type=type(value))
    options = parser.parse_args(arguments)
    for name, value in (SHORT if options.short else LONG).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


if __name__ == "__main__":
    sys.exit(main())
