"""The Health page, from rows as processes write them."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from dispatch_app.execution.breaker import Cause
from dispatch_app.fleet.histogram import bucket_of
from dispatch_app.health.targets import TargetCard, read_fleet
from dispatch_app.models import ProcessLoad, TargetHealth
from policies_app.routing.codes import FaultClass, HealthState, KillScope
from policies_app.services.kill_switches import throw_kill_switch
from tests.dispatch_app.health.target_rows import make_process, make_target
from tests.factories import Fleet, make_fleet
from tests.personas import make_finance, make_ops

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_tables")]


@pytest.fixture
def fleet() -> Fleet:
    return make_fleet()


def card_of(name: str) -> TargetCard:
    [card] = [card for card in read_fleet().cards if card.model.name == name]
    return card


@pytest.fixture
def ops(client: Client) -> Client:
    client.force_login(make_ops())
    return client


def test_a_target_that_is_open_everywhere_comes_first_and_says_so(fleet: Fleet, ops: Client) -> None:
    for process in (make_process(), make_process()):
        make_target(process, fleet.small, calls=10)
        make_target(
            process,
            fleet.mid,
            state=HealthState.OPEN,
            cause=Cause.FAILURES,
            remaining_s=12,
            last_fault=FaultClass.SERVER_ERROR,
            last_wire_status=503,
        )

    page = ops.get(reverse("health:page")).content.decode()

    assert "Open in 2 of 2 processes, next probe in 12 s, last fault: 503." in page
    assert "Healthy in 2 of 2 processes." in page
    assert page.index("Open in 2") < page.index("Healthy in 2")
    assert "1 of 3 targets needs a look" in page
    assert page.count("not called") == 1


def test_traffic_and_errors_are_those_of_all_processes(fleet: Fleet) -> None:
    first, second = make_process(), make_process()
    make_target(first, fleet.small, calls=30, failures=3)
    make_target(second, fleet.small, calls=30, failures=0)
    make_target(first, fleet.mid, calls=20, failures=20)

    small, mid, frontier = (card_of(model.name) for model in (fleet.small, fleet.mid, fleet.frontier))

    assert (small.calls, small.share_pct, small.error_pct) == (60, 75.0, 5.0)
    assert (mid.share_pct, mid.error_pct) == (25.0, 100.0)
    assert (frontier.share_pct, frontier.error_pct) == (0.0, None)
    assert frontier.words == ["Not called in the last 15 minutes."]


def test_processes_that_are_gone_are_left_out(fleet: Fleet) -> None:
    gone, here = make_process(), make_process()
    make_target(gone, fleet.small, state=HealthState.OPEN, cause=Cause.FAILURES)
    make_target(here, fleet.small)
    ago = timezone.now() - timedelta(seconds=11)
    TargetHealth.objects.filter(process_id=gone).update(seen_at=ago)
    ProcessLoad.objects.filter(process_id=gone).update(seen_at=ago)

    assert read_fleet().processes == 1
    assert card_of("small").words == ["Healthy in 1 of 1 process."]


def test_credentials_and_regions_are_shown_apart(fleet: Fleet) -> None:
    process = make_process()
    make_target(process, fleet.small, credential="first", region="eu")
    make_target(process, fleet.small, credential="second", region="eu", state=HealthState.OPEN)

    cards = [card for card in read_fleet().cards if card.model.name == "small"]

    assert [(card.place, card.state) for card in cards] == [
        (("second", "eu"), HealthState.OPEN),
        (("first", "eu"), HealthState.HEALTHY),
    ]


def test_a_degraded_provider_is_named(fleet: Fleet, ops: Client) -> None:
    make_target(make_process(), fleet.small, state=HealthState.OPEN, provider_is_degraded=True)

    page = ops.get(reverse("health:page")).content.decode()

    assert f"{fleet.provider.name} is degraded." in page


def test_latency_is_that_of_the_last_five_minutes(fleet: Fleet) -> None:
    with connection.cursor() as cursor:
        for seconds_ago, duration_ms, calls in ((5, 100, 90), (5, 1_000, 10), (400, 60_000, 1_000)):
            cursor.execute(
                "INSERT INTO fleet_latency VALUES (floor((extract(epoch FROM now()) - %s) / 10), %s, 'first_byte', %s, %s)",
                [seconds_ago, fleet.small.pk, bucket_of(duration_ms), calls],
            )

    first_byte = card_of("small").first_byte

    assert first_byte is not None
    assert first_byte.p50_ms == pytest.approx(100, rel=0.03)
    assert first_byte.p95_ms == pytest.approx(1_000, rel=0.03)
    assert card_of("mid").first_byte is None


def test_a_model_is_cold_when_it_was_idle_for_too_long(fleet: Fleet, ops: Client) -> None:
    for model, cold_after_s in ((fleet.small, 60), (fleet.mid, 600)):
        model.cold_after_s = cold_after_s
        model.save()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fleet_warmth (model_id, last_used_at) SELECT id, now() - interval '2 minutes' FROM unnest(%s) AS id",
            [[fleet.small.pk, fleet.mid.pk]],
        )

    assert [card_of(name).is_cold for name in ("small", "mid", "frontier")] == [True, False, None]
    assert "· cold" in ops.get(reverse("health:live")).content.decode()


@pytest.mark.parametrize("scope", [KillScope.MODEL, KillScope.PROVIDER, KillScope.EVERYTHING])
def test_a_stopped_model_leads_to_its_switch(fleet: Fleet, ops: Client, scope: KillScope) -> None:
    switch = throw_kill_switch(
        scope=scope,
        reason="test",
        author_name="test",
        model=fleet.small if scope is KillScope.MODEL else None,
        provider=fleet.provider if scope is KillScope.PROVIDER else None,
    )

    page = ops.get(reverse("health:page")).content.decode()

    assert card_of("small").switch == switch
    assert (card_of("mid").switch == switch) is (scope is not KillScope.MODEL)
    assert reverse("admin:policies_app_killswitch_change", args=[switch.pk]) in page


def test_a_running_model_leads_to_the_form_that_stops_it(fleet: Fleet, ops: Client) -> None:
    page = ops.get(reverse("health:page")).content.decode()
    address = f"{reverse('admin:policies_app_killswitch_add')}?scope=model&amp;model={fleet.small.pk}"
    assert address in page

    form = ops.get(address.replace("&amp;", "&")).content.decode()

    assert '<option value="model" selected>' in form
    assert f'<option value="{fleet.small.pk}" selected>small</option>' in form


def test_names_are_escaped(fleet: Fleet, ops: Client) -> None:
    make_target(make_process(), fleet.small, region="<script>alert(1)</script>", credential="a&b")

    page = ops.get(reverse("health:live")).content.decode()

    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_live_part_is_only_what_changes(fleet: Fleet, ops: Client) -> None:
    part = ops.get(reverse("health:live"))

    assert "<html" not in part.content.decode()
    assert "no-store" in part["Cache-Control"]


def test_the_queries_do_not_grow_with_the_fleet(
    fleet: Fleet, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for process in (make_process(), make_process(), make_process()):
        for model in (fleet.small, fleet.mid, fleet.frontier):
            make_target(process, model)

    with django_assert_num_queries(7):
        read_fleet()


def test_the_sidebar_leads_ops_there_and_finance_not(client: Client) -> None:
    for user, is_shown in ((make_ops(), True), (make_finance(), False)):
        client.force_login(user)
        page = client.get(reverse("admin:index")).content.decode()
        assert (reverse("health:page") in page) is is_shown
