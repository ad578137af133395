from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dispatch_app.rollups.reconcile import find_differences


class Command(BaseCommand):
    help = "Compare log, budgets and rollups. Prints each difference, and fails if there is one."

    def handle(self, *_args: Any, **_options: Any) -> None:
        differences = find_differences()
        for difference in differences:
            self.stdout.write(str(difference))
        if differences:
            raise CommandError(f"{len(differences)} difference{'s' if len(differences) > 1 else ''}.")
        self.stdout.write("Log, budgets and rollups agree.")
