"""`manage.py kill` and `manage.py unkill`."""

import getpass
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from dispatch_app.models import ServingProcess
from policies_app.models import AuditEntry, KillSwitch
from policies_app.services.kill_switches import current_epoch
from tests.factories import make_fleet, make_key, make_published_policy, make_tenant

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nobody_serves() -> None:
    """No process of another test is waited for."""
    ServingProcess.objects.all().delete()


def run(*words: str) -> str:
    output = StringIO()
    call_command(*words, stdout=output)
    return output.getvalue()


@pytest.mark.parametrize(
    ("scope", "subject", "shown"),
    [
        ("everything", "", "Everything: all traffic"),
        ("model", "small", "Model: small"),
        ("provider", "vendor", "Provider: vendor"),
        ("policy", "auto", "Policy: auto"),
        ("rule", "auto/default", "Rule: auto/default"),
        ("tenant", "acme", "Tenant: acme"),
        ("end_user", "acme/mia", "End user: acme/mia"),
    ],
)
def test_a_switch_is_thrown_and_lifted_by_number(scope: str, subject: str, shown: str) -> None:
    fleet = make_fleet(provider_name="vendor")
    make_published_policy("auto", models=[fleet.small])
    make_tenant("acme")

    told = run("kill", scope, *filter(None, [subject]), "--reason", "drill")
    switch = KillSwitch.objects.active().get()
    assert str(switch) == shown
    assert f"manage.py unkill {switch.pk}" in told

    run("unkill", str(switch.pk))
    assert not KillSwitch.objects.active().exists()


def test_what_would_be_stopped_is_told_first() -> None:
    fleet = make_fleet()
    make_published_policy("auto", models=[fleet.small, fleet.mid])
    make_published_policy("lone", models=[fleet.small])

    told = run("kill", "model", "small", "--reason", "wrong answers").splitlines()

    assert told[:3] == [
        "Of the last hour's traffic: 0 of 0 dispatches (0.0 %), 0.0 % of the cost.",
        "Rule auto/default loses small: left with mid.",
        "Rule lone/default loses small: LEFT WITH NONE.",
    ]
    assert told[-1] == "No process serves requests at the moment."


def test_a_rule_that_is_misspelt_shows_in_what_is_told() -> None:
    fleet = make_fleet()
    make_published_policy("auto", models=[fleet.small])

    assert "No published rule loses a target." in run("kill", "rule", "auto/defualt", "--reason", "drill")
    assert "Rule auto/default loses small: LEFT WITH NONE." in run(
        "kill", "rule", "auto/default", "--reason", "drill"
    )


def test_options_say_how_hard_how_long_and_who_lifts() -> None:
    issued = make_key()

    run(
        "kill",
        "api_key",
        issued.row.public_id,
        "--reason",
        "leaked",
        "--expires",
        "2h",
        "--hard",
        "--second-person",
    )

    switch = KillSwitch.objects.active().get()
    assert switch.api_key == issued.row
    assert (switch.hard, switch.lift_needs_second_person) == (True, True)
    assert switch.expires_at is not None
    assert 7190 < (switch.expires_at - timezone.now()).total_seconds() <= 7200


@pytest.mark.parametrize("text", ["", "2", "0h", "-1h", "1w", "9999999d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="no duration"):
        run("kill", "everything", "--reason", "drill", f"--expires={text}")
    assert not KillSwitch.objects.exists()


def test_all_switches_of_a_subject_are_lifted_at_once() -> None:
    make_fleet()
    for name in ("small", "small", "mid"):
        run("kill", "model", name, "--reason", "drill")

    run("unkill", "model", "small", "--reason", "over")

    assert [str(switch) for switch in KillSwitch.objects.active()] == ["Model: mid"]
    lifted = AuditEntry.objects.filter(action="lifted").values_list("author_name", "reason")
    assert list(lifted) == [(getpass.getuser(), "over")] * 2


def test_the_command_line_is_nobody_s_second_person() -> None:
    run("kill", "everything", "--reason", "drill", "--second-person")
    KillSwitch.objects.update(author_name="somebody else")

    with pytest.raises(CommandError, match="does not prove who you are"):
        run("unkill", "everything")
    assert KillSwitch.objects.active().exists()


def test_a_process_that_has_not_acknowledged_in_time_makes_the_command_fail_but_not_the_switch() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO serving_process"
            " VALUES (gen_random_uuid(), 'host', 1, now(), %s, clock_timestamp(), clock_timestamp())",
            [current_epoch()],
        )

    with pytest.raises(CommandError, match="0 of 1 processes") as refusal:
        run("kill", "everything", "--reason", "drill", "--wait", "0.05")

    assert refusal.value.returncode == 3
    assert KillSwitch.objects.active().exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("kill", "model", "nimbus", "--reason", "drill"), "no model called “nimbus”"),
        (("unkill", "99"), "no kill switch 99"),
        (("unkill", "everything"), "No kill switch stops everything"),
        (("unkill", "universe"), "neither a number nor one of"),
    ],
)
def test_what_is_not_there_is_said(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        run(*words)
    assert not KillSwitch.objects.exists()
