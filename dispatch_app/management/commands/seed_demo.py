"""Fill in the demo: `manage.py seed_demo --base-url … --sandbox-url … --output var/demo.json`."""

import json
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from dispatch_app.demo.traffic import seed_traffic
from policies_app.demo.accounts import ADMIN_USER, FINANCE_USER, seed_admin, seed_finance
from policies_app.demo.fleet import seed_fleet
from policies_app.demo.policies import seed_policies
from policies_app.demo.tenants import (
    VISITOR,
    seed_budgets,
    seed_rate_limits,
    seed_tenants,
    seed_visitor_key,
)


class Command(BaseCommand):
    help = "Create the demo's fleet, tenants, policies, budgets, log-ins and key. Keeps what is there."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--base-url", required=True, help="where Signalbox will serve")
        parser.add_argument("--sandbox-url", required=True, help="where the sandbox vendor will serve")
        parser.add_argument("--output", required=True, type=Path, help="JSON file of the log-ins and the key")

    def handle(self, *_args: Any, base_url: str, sandbox_url: str, output: Path, **_options: Any) -> None:
        known = _read(output)
        with transaction.atomic():
            seed_fleet(base_url=f"{sandbox_url.rstrip('/')}/v1")
            seed_policies()
            seed_tenants()
            seed_budgets()
            seed_rate_limits()
            access = {
                "base_url": base_url,
                "api_key": seed_visitor_key(known_text=known.get("api_key")),
                "tenant": VISITOR,
                "admin_user": ADMIN_USER,
                "admin_password": seed_admin(known_password=known.get("admin_password")),
                "finance_user": FINANCE_USER,
                "finance_password": seed_finance(known_password=known.get("finance_password")),
            }
        _write(output, access)
        seed_traffic(now=timezone.now())


def _read(path: Path) -> dict[str, str]:
    """What an earlier run wrote; nothing where there is no such file, or it was spoilt."""
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(path: Path, access: dict[str, str]) -> None:
    """Replace the file in one step; it is never readable to others, nor half written."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(access, file, indent=2)
        file.write("\n")
    partial.replace(path)
