from datetime import timedelta

import pytest
from django.utils import timezone

from dispatch_app.alerts.kill_switches import alert_about_kill_switches
from dispatch_app.models import Alert
from policies_app.models import KillSwitch
from policies_app.routing.codes import KillScope
from policies_app.services.kill_switches import lift_kill_switch, throw_kill_switch
from tests.factories import make_fleet

pytestmark = pytest.mark.django_db


def titles() -> list[str]:
    alert_about_kill_switches()
    return list(Alert.objects.order_by("created_at").values_list("title", flat=True))


def test_a_switch_is_told_when_it_is_thrown_and_when_it_is_lifted() -> None:
    switch = throw_kill_switch(
        scope=KillScope.MODEL, model=make_fleet().small, reason="on fire", author_name="ann"
    )
    assert titles() == titles() == ["Stopped: Model: small"]
    assert Alert.objects.get().details["reason"] == "on fire"

    lift_kill_switch(switch=switch, author_name="bob")

    assert titles() == ["Stopped: Model: small", "No longer stopped: Model: small"]
    assert Alert.objects.get(key__startswith="lifted").details["by"] == "bob"


def test_what_was_long_ago_is_no_news() -> None:
    switch = throw_kill_switch(scope=KillScope.EVERYTHING, reason="drill", author_name="ann")
    KillSwitch.objects.filter(pk=switch.pk).update(created_at=timezone.now() - timedelta(hours=2))

    assert titles() == []
