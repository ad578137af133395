from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dispatch_app.rollups.reconcile_runs import reconcile


class Command(BaseCommand):
    help = "Compare log, budgets and rollups. Prints each difference, and fails if there is one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--all",
            action="store_true",
            help="Read the whole log, also the days that were proven before.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        differences = reconcile(reads_all=options["all"]).differences
        for difference in differences:
            self.stdout.write(str(difference))
        if differences:
            raise CommandError(f"{len(differences)} difference{'s' if len(differences) > 1 else ''}.")
        self.stdout.write("Log, budgets and rollups agree.")
