"""Create a token of the management API: `manage.py create_api_token USER`."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from knox.models import AuthToken


class Command(BaseCommand):
    help = "Create a token of the management API that acts as USER, and print it. It is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="log-in name of an active member of staff")

    def handle(self, *_args: Any, user: str, **_options: Any) -> None:
        account = User.objects.filter(username=user, is_active=True, is_staff=True).first()
        if account is None:
            raise CommandError(f"There is no active member of staff called {user}.")
        _, token = AuthToken.objects.create(user=account)  # type: ignore[no-untyped-call]
        self.stdout.write(token)
