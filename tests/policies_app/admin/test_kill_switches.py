from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from dispatch_app.models import ServingProcess
from policies_app.models import KillSwitch
from policies_app.routing.codes import KillScope
from policies_app.services.kill_switches import Acknowledgements, current_epoch, throw_kill_switch
from tests.factories import make_key, make_published_policy, make_tenant

ADD = "/admin/policies_app/killswitch/add/"


def throw(client, **fields):
    """The form is filled in and, if nothing is wrong with it, what it stops is confirmed."""
    asked = ask(client, **fields)
    if "previewed" not in asked.context:
        return asked
    form = dict(asked.context["answers"]) | {"previewed": asked.context["previewed"]}
    return client.post(ADD, form, follow=True)


def ask(client, **fields):
    return client.post(ADD, {"reason": "on fire", "expires_at_0": "", "expires_at_1": ""} | fields)


def test_a_thrown_switch_is_active_and_its_receipt_is_shown(ops, fleet):
    ServingProcess.objects.all().delete()  # those of other tests may still run
    answer = throw(ops, scope="model", model=fleet.small.pk)

    switch = KillSwitch.objects.get()
    assert switch.is_active
    assert switch.author_name.startswith("ops-")
    assert "Stopped: Model: small." in answer.content.decode()
    assert "No process serves requests at the moment." in answer.content.decode()


def test_what_would_be_stopped_is_asked_first(ops, fleet):
    make_published_policy("auto", models=[fleet.small, fleet.mid])
    make_published_policy("lone", models=[fleet.small])

    asked = ask(ops, scope="model", model=fleet.small.pk, hard="on").content.decode()

    assert not KillSwitch.objects.exists()
    assert "There was no traffic in the last hour." in asked
    assert "<b>auto / default</b> loses small; mid would answer." in asked
    assert "<b>lone / default</b> loses small." in asked
    assert "What is on its way is cut" in asked


def test_an_address_that_names_the_subject_tells_at_once_and_the_form_is_not_asked_about_again(ops, fleet):
    form = ops.get(ADD, {"scope": "model", "model": fleet.small.pk})
    assert "What this stops" in form.content.decode()
    answers = {
        "scope": "model",
        "model": fleet.small.pk,
        "reason": "fire",
        "expires_at_0": "",
        "expires_at_1": "",
    }

    other = ops.post(ADD, answers | {"model": fleet.mid.pk, "previewed": form.context["previewed"]})
    assert "Stop it" in other.content.decode()
    assert not KillSwitch.objects.exists()

    ops.post(ADD, answers | {"previewed": form.context["previewed"]})
    assert KillSwitch.objects.get().model == fleet.small


@pytest.mark.parametrize(
    ("page", "scope", "subject"),
    [
        ("model", "model", lambda fleet: fleet.small),
        ("provider", "provider", lambda fleet: fleet.provider),
        ("policy", "policy", lambda fleet: make_published_policy("auto", models=[fleet.small])),
        ("tenant", "tenant", lambda _fleet: make_tenant()),
        ("apikey", "api_key", lambda _fleet: make_key().row),
    ],
)
def test_what_can_be_stopped_is_one_click_away_from_the_form_that_stops_it(ops, fleet, page, scope, subject):
    row = subject(fleet)

    form = ops.get(f"/admin/policies_app/{page}/{row.pk}/stop/", follow=True)

    assert form.context["adminform"].form.initial | {} == {"scope": scope, scope: str(row.pk)}
    assert "What this stops" in form.content.decode()


def test_whoever_threw_a_switch_that_takes_two_is_not_offered_to_lift_it(admin, ops):
    throw(admin, scope="everything", lift_needs_second_person="on")
    address = f"/admin/policies_app/killswitch/{KillSwitch.objects.get().pk}/lift/"

    assert "somebody else has to lift it" in admin.get(address).content.decode()
    assert "somebody else has to lift it" in admin.post(address, follow=True).content.decode()
    assert KillSwitch.objects.get().is_active

    ops.post(address)
    assert not KillSwitch.objects.get().is_active


def test_the_receipt_follows_the_processes(ops):
    switch = throw_kill_switch(scope=KillScope.EVERYTHING, reason="fire", author_name="test")
    ServingProcess.objects.all().delete()
    now, epoch = timezone.now(), current_epoch()
    process = ServingProcess.objects.create(
        id=uuid4(), hostname="web", pid=1, started_at=now, epoch=epoch - 1, acknowledged_at=now, seen_at=now
    )
    address = f"/admin/policies_app/killswitch/{switch.pk}/receipt/?epoch={epoch}"

    assert "0 of 1 processes" in ops.get(address).content.decode()
    ServingProcess.objects.filter(pk=process.pk).update(epoch=epoch)
    assert "1 of 1 processes" in ops.get(address).content.decode()


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


def test_the_page_of_a_switch_says_what_it_stops(ops, fleet):
    switch = throw_kill_switch(
        scope=KillScope.MODEL, model=fleet.frontier, reason="fire", author_name="test", hard=True
    )

    page = ops.get(f"/admin/policies_app/killswitch/{switch.pk}/change/")

    shown = [field for line in page.context["adminform"] for row in line for field in row]
    assert "frontier" in [field.contents() for field in shown]
