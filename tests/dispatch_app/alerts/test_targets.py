from datetime import timedelta

import pytest
from django.utils import timezone

from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.alerts.targets import alert_about_targets
from dispatch_app.execution.breaker import Cause
from dispatch_app.models import Alert
from policies_app.routing.codes import HealthState
from tests.dispatch_app.health.conftest import own_tables
from tests.dispatch_app.health.target_rows import make_process, make_target
from tests.factories import make_fleet

__all__ = ["own_tables"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_tables")]


def test_a_refused_credential_is_told_once_however_many_targets_and_processes_see_it() -> None:
    fleet = make_fleet(provider_name="acme")
    for process in (make_process(), make_process()):
        for model in (fleet.small, fleet.mid):
            make_target(process, model, state=HealthState.OPEN, cause=Cause.CREDENTIAL, credential="main")
        make_target(process, fleet.frontier, state=HealthState.OPEN, cause=Cause.FAILURES)

    alert_about_targets()
    alert_about_targets()

    alert = Alert.objects.get()
    assert alert.kind == AlertKind.CREDENTIAL_REFUSED
    assert alert.title == "acme refuses the credential: main"
    assert alert.details["credential"] == "main"


def test_what_a_process_said_long_ago_is_no_news() -> None:
    long_ago = timezone.now() - timedelta(minutes=1)
    make_target(make_process(), make_fleet().small, cause=Cause.QUOTA, seen_at=long_ago)

    alert_about_targets()

    assert not Alert.objects.exists()
