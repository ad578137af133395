from datetime import timedelta

import pytest
from django.utils import timezone

from dispatch_app.models import ServingProcess
from policies_app.models import KillSwitch
from policies_app.routing.codes import KillScope
from policies_app.services.kill_switches import Acknowledgements, throw_kill_switch


def throw(client, **fields):
    form = {"reason": "on fire", "expires_at_0": "", "expires_at_1": ""} | fields
    return client.post("/admin/policies_app/killswitch/add/", form, follow=True)


def test_a_thrown_switch_is_active_and_its_receipt_is_shown(ops, fleet):
    ServingProcess.objects.all().delete()  # those of other tests may still run
    answer = throw(ops, scope="model", model=fleet.small.pk)

    switch = KillSwitch.objects.get()
    assert switch.is_active
    assert switch.author_name.startswith("ops-")
    assert "Stopped: Model: small. No process serves requests at the moment." in answer.content.decode()


@pytest.mark.parametrize(
    ("fields", "wrong_field"),
    [
        ({}, "scope"),  # nothing is chosen beforehand
        ({"scope": "model"}, "model"),
        ({"scope": "rule"}, "rule_name"),
        ({"scope": "end_user", "end_user": "ann"}, "tenant"),
        ({"scope": "everything", "rule_name": "x"}, "rule_name"),
        ({"scope": "everything", "reason": ""}, "reason"),
        ({"scope": "everything", "expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "expires_at"),
    ],
)
def test_a_wrong_switch_is_refused_at_its_field(ops, errors_of, fields, wrong_field):
    assert wrong_field in errors_of(throw(ops, **fields))
    assert not KillSwitch.objects.exists()


def test_lifting_asks_first_and_says_why_in_the_audit_trail(ops):
    switch = throw_kill_switch(scope=KillScope.EVERYTHING, reason="fire", author_name="test")
    address = f"/admin/policies_app/killswitch/{switch.pk}/lift/"

    ops.get(address)
    assert KillSwitch.objects.get().is_active

    answer = ops.post(address, {"reason": "put out"}, follow=True)
    assert not KillSwitch.objects.get().is_active
    assert "Lifted: Everything: all traffic." in answer.content.decode()


def test_lifting_what_is_lifted_says_so(ops):
    switch = throw_kill_switch(
        scope=KillScope.EVERYTHING,
        reason="fire",
        author_name="test",
        expires_at=timezone.now() + timedelta(days=1),
    )
    address = f"/admin/policies_app/killswitch/{switch.pk}/lift/"
    ops.post(address)

    assert "is not active" in ops.post(address, follow=True).content.decode()


def test_a_switch_is_never_changed_or_deleted_not_even_by_a_superuser(admin):
    switch = throw_kill_switch(scope=KillScope.EVERYTHING, reason="fire", author_name="test")

    assert (
        admin.post(f"/admin/policies_app/killswitch/{switch.pk}/change/", {"reason": "x"}).status_code == 403
    )
    assert (
        admin.post(f"/admin/policies_app/killswitch/{switch.pk}/delete/", {"post": "yes"}).status_code == 403
    )


def test_the_list_shows_the_active_ones_on_request(ops):
    throw_kill_switch(scope=KillScope.EVERYTHING, reason="still burning", author_name="test")
    lifted = throw_kill_switch(scope=KillScope.EVERYTHING, reason="long gone", author_name="test")
    ops.post(f"/admin/policies_app/killswitch/{lifted.pk}/lift/")

    active = ops.get("/admin/policies_app/killswitch/", {"state": "active"}).content.decode()

    assert "still burning" in active
    assert "long gone" not in active


@pytest.mark.parametrize(
    ("receipt", "words"),
    [
        (Acknowledgements(8, 8, 0.18), "8 of 8 processes in 0.2 s."),
        (Acknowledgements(7, 8, None), "7 of 8 processes serve with it."),
        (Acknowledgements(0, 0, None), "No process serves requests at the moment."),
    ],
)
def test_a_receipt_says_how_far_an_edit_got(receipt, words):
    assert str(receipt) == words


def test_whoever_threw_a_switch_for_two_is_told_that_somebody_else_has_to_lift_it(ops, admin):
    throw(ops, scope="everything", lift_needs_second_person="on", hard="on")
    switch = KillSwitch.objects.get()
    address = f"/admin/policies_app/killswitch/{switch.pk}/lift/"

    told = ops.post(address, {"reason": ""}, follow=True).content.decode()

    assert "somebody else has to lift it" in told
    assert switch.hard
    assert KillSwitch.objects.get().is_active
    admin.post(address, {"reason": ""}, follow=True)
    assert not KillSwitch.objects.get().is_active
