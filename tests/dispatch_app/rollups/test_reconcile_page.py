import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from dispatch_app.health.metrics import exposition
from dispatch_app.rollups.reconcile_runs import reconcile
from tests.personas import make_finance, make_ops

pytestmark = pytest.mark.usefixtures("figures")


@pytest.fixture
def one_difference(figures: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rollup_latency VALUES (9, '2026-03-10 12:00Z', '2026-03-10', 1, 1, 30, 4)"
        )


def page_for(client: Client, user) -> str:
    client.force_login(user)
    return client.get(reverse("reconcile:page")).content.decode()


def test_the_page_says_that_nothing_was_compared_yet_and_then_that_all_agrees(client: Client) -> None:
    user = make_ops()
    assert "Nothing was compared yet." in page_for(client, user)

    answer = client.post(reverse("reconcile:run"), follow=True)

    assert "Log, budgets and rollups agree to the nano-dollar" in answer.content.decode()
    assert "all agrees" in answer.content.decode()


@pytest.mark.usefixtures("one_difference")
def test_a_difference_is_shown_until_it_is_gone(client: Client) -> None:
    client.force_login(make_ops())

    page = client.post(reverse("reconcile:run"), follow=True).content.decode()
    assert "1 difference found." in page
    assert "tenant 9, hour 2026-03-10 12:00" in page
    assert "4 too much" in page

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM rollup_latency")
    page = client.post(reverse("reconcile:run"), follow=True).content.decode()
    assert "Differences that are gone" in page
    assert "4 too much" not in page


@pytest.mark.usefixtures("one_difference")
def test_sums_are_for_those_who_may_see_costs(client: Client) -> None:
    reconcile()

    assert "0 ≠ 4" in page_for(client, make_finance())
    assert "0 ≠ 4" not in page_for(client, make_ops())


@pytest.mark.usefixtures("one_difference")
def test_metrics_tell_what_stands() -> None:
    assert "signalbox_reconcile_differences 0.0" in exposition().decode()

    reconcile()

    text = exposition().decode()
    assert "signalbox_reconcile_differences 1.0" in text
    assert "signalbox_oldest_open_attempt_seconds 0.0" in text
    assert "signalbox_figures_lag_seconds " in text
