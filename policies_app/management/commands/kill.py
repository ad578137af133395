"""Throw a kill switch: `manage.py kill model sandbox-frontier --reason "wrong answers"`."""

import getpass
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from policies_app.models import ApiKey, Model, Policy, Provider, Tenant
from policies_app.routing.codes import KillScope
from policies_app.services.errors import ServiceError
from policies_app.services.kill_switches import current_epoch, throw_kill_switch, wait_for_acknowledgement

_NAMED: dict[KillScope, type[Provider | Model | Policy | Tenant]] = {
    KillScope.PROVIDER: Provider,
    KillScope.MODEL: Model,
    KillScope.POLICY: Policy,
    KillScope.TENANT: Tenant,
}


class Command(BaseCommand):
    help = "Stop a model, provider, policy, rule, tenant, key, end user or everything, from this moment on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("scope", choices=[scope.value for scope in KillScope])
        parser.add_argument(
            "subject",
            nargs="?",
            default="",
            help="its name; POLICY/RULE for a rule, TENANT/USER for an end user, the public id of a key",
        )
        parser.add_argument("--reason", required=True, help="why; shown to whoever meets the switch")
        parser.add_argument("--hard", action="store_true", help="also cut what is in flight")
        parser.add_argument(
            "--second-person", action="store_true", help="somebody else than you has to lift it"
        )
        parser.add_argument("--minutes", type=int, help="lift it by itself after so many minutes")

    def handle(
        self, *_args: Any, scope: str, subject: str, reason: str, minutes: int | None, **options: Any
    ) -> None:
        try:
            switch = throw_kill_switch(
                scope=KillScope(scope),
                reason=reason,
                author_name=getpass.getuser(),
                hard=options["hard"],
                lift_needs_second_person=options["second_person"],
                expires_at=None if minutes is None else timezone.now() + timedelta(minutes=minutes),
                **find_subject(KillScope(scope), subject),
            )
        except ObjectDoesNotExist as error:
            raise CommandError(f"There is no {scope.replace('_', ' ')} called “{subject}”.") from error
        except ServiceError as error:
            raise CommandError(str(error)) from error
        receipt = wait_for_acknowledgement(epoch=current_epoch())
        self.stdout.write(
            f"Kill switch {switch.pk} is on ({switch}): nothing of it is admitted any more.\n"
            f"{receipt}\n"
            f"Lift it with: manage.py lift {switch.pk}"
        )
        if not receipt.are_complete:
            raise CommandError("Not every process has acknowledged it in time; look at Serving processes.")


def find_subject(scope: KillScope, subject: str) -> dict[str, Any]:
    """Return the fields of the switch that name `subject`.

    :raises ObjectDoesNotExist: if there is none of that name.
    """
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
