from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from policies_app.models import AuditEntry, KillSwitch
from policies_app.routing.codes import KillScope
from policies_app.services.errors import SecondPersonNeededError
from policies_app.services.kill_switches import (
    KillSwitchNotActiveError,
    KillSwitchNotThrownError,
    acknowledgements,
    current_epoch,
    lift_kill_switch,
    throw_kill_switch,
    wait_for_acknowledgement,
)
from tests.factories import make_fleet

pytestmark = pytest.mark.django_db


def throw(**fields):
    return throw_kill_switch(
        **{"scope": KillScope.EVERYTHING, "reason": "drill", "author_name": "ops"} | fields
    )


def test_a_thrown_switch_is_active_until_it_is_lifted():
    switch = throw()
    assert list(KillSwitch.objects.active()) == [switch]

    lift_kill_switch(switch=switch, author_name="max", reason="over")

    assert not KillSwitch.objects.active().exists()
    assert (switch.lifted_by_name, switch.is_active) == ("max", False)


def test_throwing_bumps_the_epoch():
    before = current_epoch()

    throw()

    assert current_epoch() > before


def test_a_switch_ends_by_itself():
    switch = throw(expires_at=timezone.now() + timedelta(seconds=60))
    KillSwitch.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert not KillSwitch.objects.active().exists()
    with pytest.raises(KillSwitchNotActiveError):
        lift_kill_switch(switch=switch, author_name="ops")


def test_a_switch_is_lifted_once():
    switch = throw()
    lift_kill_switch(switch=switch, author_name="mia")

    with pytest.raises(KillSwitchNotActiveError):
        lift_kill_switch(switch=switch, author_name="max")

    switch.refresh_from_db()
    assert switch.lifted_by_name == "mia"


def test_whoever_threw_a_switch_that_takes_two_cannot_lift_it():
    switch = throw(lift_needs_second_person=True)

    with pytest.raises(SecondPersonNeededError, match="somebody else"):
        lift_kill_switch(switch=switch, author_name="ops")
    assert KillSwitch.objects.get().is_active

    assert lift_kill_switch(switch=switch, author_name="mia").lifted_by_name == "mia"


def test_the_installation_may_ask_for_a_second_person_whatever_the_author_says(settings):
    settings.KILL_SWITCH_LIFT_NEEDS_SECOND_PERSON = True

    assert throw(lift_needs_second_person=False).lift_needs_second_person


def test_not_even_the_database_takes_the_author_for_the_second_person():
    switch = throw(lift_needs_second_person=True)

    with pytest.raises(IntegrityError, match="kill_switch_lifted_by_second_person"):
        KillSwitch.objects.filter(pk=switch.pk).update(lifted_at=timezone.now(), lifted_by_name="ops")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reason": ""}, "blank"),
        ({"scope": KillScope.MODEL}, "Name the subject"),
        ({"scope": KillScope.END_USER, "end_user": "mia"}, "Name the subject"),
        ({"expires_at": timezone.now() - timedelta(days=1)}, "expired already"),
    ],
)
def test_a_switch_without_reason_or_subject_is_refused_in_words(fields, words):
    with pytest.raises(KillSwitchNotThrownError, match=words):
        throw(**fields)

    assert not KillSwitch.objects.exists()


def test_the_trail_tells_who_threw_and_who_lifted_and_why():
    fleet = make_fleet()
    switch = throw(scope=KillScope.MODEL, model=fleet.small, reason="wrong answers")
    lift_kill_switch(switch=switch, author_name="max", reason="fixed")

    trail = AuditEntry.objects.order_by("pk").values_list("author_name", "action", "subject_name", "reason")
    assert list(trail) == [
        ("ops", "thrown", "Model: small", "wrong answers"),
        ("max", "lifted", "Model: small", "fixed"),
    ]


def test_with_nobody_serving_there_is_nobody_to_wait_for():
    receipt = wait_for_acknowledgement(epoch=current_epoch())

    assert receipt == (0, 0, None)
    assert receipt.are_complete


def test_a_process_that_has_not_followed_is_counted_as_missing(django_cursor):
    epoch = current_epoch()
    django_cursor.execute(
        "INSERT INTO serving_process"
        " SELECT gen_random_uuid(), 'host', 1, now(), %s + n, clock_timestamp(), clock_timestamp()"
        "   FROM generate_series(-1, 0) AS n",
        [epoch],
    )

    receipt = wait_for_acknowledgement(epoch=epoch, timeout_s=0.05)

    assert (receipt.acknowledged, receipt.total) == (1, 2)
    assert receipt.seconds is not None
    assert acknowledgements(epoch - 1).acknowledged == 2


@pytest.fixture
def django_cursor():
    from django.db import connection

    with connection.cursor() as cursor:
        yield cursor
