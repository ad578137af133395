"""Lift kill switches: `manage.py unkill 3`, or all of one subject: `manage.py unkill model sandbox-frontier`."""

import getpass
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from policies_app.management.commands.kill import WAIT_S, await_receipt, find_subject
from policies_app.models import KillSwitch
from policies_app.routing.codes import KillScope
from policies_app.services.errors import ServiceError
from policies_app.services.kill_switches import lift_kill_switch


class Command(BaseCommand):
    help = "Let through again what kill switches stop."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("scope", help="the number of a switch; or a scope, and with it the subject")
        parser.add_argument("subject", nargs="?", default="", help="as for kill")
        parser.add_argument("--reason", default="", help="for the audit trail")
        parser.add_argument("--wait", type=float, default=WAIT_S, help="seconds to wait for all processes")

    def handle(self, *_args: Any, scope: str, subject: str, **options: Any) -> None:
        switches = find_switches(str(scope), subject)
        for switch in switches:
            if switch.lift_needs_second_person:
                raise CommandError(
                    f"Kill switch {switch.pk} takes a second person, and the command line does not prove who you are:"
                    " lift it in the admin or through the API."
                )
        for switch in switches:
            try:
                lift_kill_switch(switch=switch, author_name=getpass.getuser(), reason=options["reason"])
            except ServiceError as error:
                raise CommandError(str(error)) from error
            self.stdout.write(f"Kill switch {switch.pk} is lifted: {switch}.")
        self.stdout.write(await_receipt(options["wait"]))


def find_switches(scope: str, subject: str) -> list[KillSwitch]:
    """Return the switch of that number, or the active ones that stop just that subject.

    :raises CommandError: if there is none.
    """
    if scope.isdecimal():
        switches = list(KillSwitch.objects.filter(pk=int(scope)))
        complaint = f"There is no kill switch {scope}."
    elif scope in set(KillScope):
        fields = find_subject(KillScope(scope), subject)
        switches = list(KillSwitch.objects.active().filter(scope=scope, **fields).order_by("pk"))
        complaint = f"No kill switch stops {f'{scope} {subject}'.strip()}."
    else:
        raise CommandError(f"“{scope}” is neither a number nor one of: {', '.join(KillScope)}.")
    if not switches:
        raise CommandError(complaint)
    return switches
