"""Throw a kill switch: `manage.py kill model sandbox-frontier --reason "wrong answers" --expires 2h`."""

import getpass
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from policies_app.models import ApiKey, KillSwitch, Model, Policy, Provider, Tenant
from policies_app.routing.codes import KillScope
from policies_app.services.blast_radius import BlastRadius, RuleLoss, measure_blast_radius
from policies_app.services.errors import ServiceError
from policies_app.services.kill_switches import (
    current_epoch,
    throw_kill_switch,
    wait_for_acknowledgement,
)

NOT_EVERYWHERE = 3
"""Exit code when the switch stands, but some process did not acknowledge it in time."""
WAIT_S = 5.0

_NAMED: dict[KillScope, type[Provider | Model | Policy | Tenant]] = {
    KillScope.PROVIDER: Provider,
    KillScope.MODEL: Model,
    KillScope.POLICY: Policy,
    KillScope.TENANT: Tenant,
}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Command(BaseCommand):
    help = "Stop a model, provider, policy, rule, tenant, key, end user or everything, from this moment on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_subject_arguments(parser)
        parser.add_argument("--reason", required=True, help="why; shown to whoever meets the switch")
        parser.add_argument("--hard", action="store_true", help="cut what is on its way, too")
        parser.add_argument(
            "--expires", type=duration, help="lift it by itself after so long: 90s, 30m, 2h, 1d"
        )
        parser.add_argument(
            "--second-person", action="store_true", help="somebody else has to lift it, in the admin"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask before it is thrown")
        parser.add_argument("--wait", type=float, default=WAIT_S, help="seconds to wait for all processes")

    def handle(self, *_args: Any, scope: str, subject: str, **options: Any) -> None:
        fields = {"scope": KillScope(scope), **find_subject(KillScope(scope), subject)}
        for line in describe_blast_radius(measure_blast_radius(KillSwitch(**fields))):
            self.stdout.write(line)
        if not options["yes"] and sys.stdin.isatty() and not _is_confirmed():
            raise CommandError("Nothing was stopped.")
        expires = options["expires"]
        try:
            switch = throw_kill_switch(
                **fields,
                reason=options["reason"],
                author_name=getpass.getuser(),
                hard=options["hard"],
                lift_needs_second_person=options["second_person"],
                expires_at=None if expires is None else timezone.now() + expires,
            )
        except ServiceError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Kill switch {switch.pk} is on: {switch}. Nothing of it is admitted any more.")
        self.stdout.write(f"Lift it with: manage.py unkill {switch.pk}")
        self.stdout.write(await_receipt(options["wait"]))


def add_subject_arguments(parser: ArgumentParser) -> None:
    """Arguments that name what a switch stops."""
    parser.add_argument("scope", choices=[scope.value for scope in KillScope])
    parser.add_argument(
        "subject",
        nargs="?",
        default="",
        help="its name; POLICY/RULE for a rule, TENANT/USER for an end user, the public id of a key",
    )


def find_subject(scope: KillScope, subject: str) -> dict[str, Any]:
    """Return the fields of a switch that name `subject`.

    :raises CommandError: if there is none of that name.
    """
    try:
        return _find_subject(scope, subject)
    except ObjectDoesNotExist as error:
        raise CommandError(f"There is no {scope.replace('_', ' ')} called “{subject}”.") from error


def duration(text: str) -> timedelta:
    """Read “90s”, “30m”, “2h” or “1d”.

    :raises ArgumentTypeError: if it is none of these.
    """
    read = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if read is None:
        raise ArgumentTypeError(f"“{text}” is no duration such as 90s, 30m, 2h or 1d")
    return timedelta(**{_UNITS[read[2]]: int(read[1])})


def describe_blast_radius(radius: BlastRadius) -> Iterator[str]:
    """What would be stopped, a line each."""
    yield (
        f"Of the last hour's traffic: {radius.dispatches} of {radius.of_dispatches} dispatches"
        f" ({radius.dispatch_share_pct} %), {radius.cost_share_pct} % of the cost."
    )
    yield from map(_describe_loss, radius.rules)
    if not radius.rules:
        yield "No published rule loses a target."


def await_receipt(wait_s: float) -> str:
    """Wait until every process has the latest edit, and say so.

    :raises CommandError: if not all of them have it by then.
    """
    receipt = wait_for_acknowledgement(epoch=current_epoch(), timeout_s=wait_s)
    if not receipt.are_complete:
        raise CommandError(
            f"{receipt} Not every process has acknowledged it in time; look at Serving processes.",
            returncode=NOT_EVERYWHERE,
        )
    return str(receipt)


def _describe_loss(loss: RuleLoss) -> str:
    left = f"left with {', '.join(loss.left)}" if loss.left else "LEFT WITH NONE"
    return f"Rule {loss.policy}/{loss.rule} loses {', '.join(loss.lost)}: {left}."


def _is_confirmed() -> bool:
    return input("Stop it? [y/N] ").strip().lower() in {"y", "yes"}


def _find_subject(scope: KillScope, subject: str) -> dict[str, Any]:
    owner, _, name = subject.partition("/")
    match scope:
        case KillScope.EVERYTHING:
            return {}
        case KillScope.RULE:
            return {"policy": Policy.objects.get(name=owner), "rule_name": name}
        case KillScope.API_KEY:
            return {"api_key": ApiKey.objects.get(public_id=subject)}
        case KillScope.END_USER:
            return {"tenant": Tenant.objects.get(name=owner), "end_user": name}
        case _:
            return {scope.value: _NAMED[scope].objects.get(name=subject)}
