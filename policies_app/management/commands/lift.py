"""Lift a kill switch: `manage.py lift 3`."""

import getpass
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from policies_app.models import KillSwitch
from policies_app.services.errors import ServiceError
from policies_app.services.kill_switches import lift_kill_switch


class Command(BaseCommand):
    help = "Let through again what a kill switch stops."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int, help="number of the switch; the admin and `kill` show it")
        parser.add_argument("--reason", default="")

    def handle(self, *_args: Any, reason: str, **options: Any) -> None:
        switch = KillSwitch.objects.filter(pk=options["id"]).first()
        if switch is None:
            raise CommandError(f"There is no kill switch {options['id']}.")
        try:
            lift_kill_switch(switch=switch, author_name=getpass.getuser(), reason=reason)
        except ServiceError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Kill switch {switch.pk} is lifted ({switch}).")
