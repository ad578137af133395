"""The Health page in a browser: it follows what happens by itself."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from dispatch_app.execution.breaker import Cause
from dispatch_app.models import TargetHealth
from policies_app.routing.codes import FaultClass, HealthState
from tests.browser.conftest import PHONE, assert_fits_the_width
from tests.dispatch_app.health.target_rows import make_process, make_target
from tests.factories import Fleet, make_fleet
from tests.personas import make_ops

pytestmark = pytest.mark.django_db(transaction=True)

# A process of the session's own may be serving the test database meanwhile.
HEALTHY = re.compile(r"Healthy in 1 of \d process(es)?\.")
OPEN = re.compile(r"Open in 1 of \d process(es)?, last fault: 503\.")


@pytest.fixture
def fleet() -> Fleet:
    fleet = make_fleet()
    process = make_process(in_flight=4)
    for model in (fleet.small, fleet.mid, fleet.frontier):
        make_target(process, model, calls=10)
    return fleet


def open_circuit(fleet: Fleet) -> None:
    TargetHealth.objects.filter(model_id=fleet.small.pk).update(
        state=HealthState.OPEN,
        cause=Cause.FAILURES,
        last_fault=FaultClass.SERVER_ERROR,
        last_wire_status=503,
        failures=5,
    )


def test_the_page_follows_without_a_reload(fleet: Fleet, sign_in: Callable, open_page: Callable) -> None:
    sign_in(make_ops())
    page: Page = open_page("/admin/")
    page.get_by_role("link", name="Health").click()
    small = page.locator("[data-target=small]")
    expect(small).to_contain_text(HEALTHY)
    page.evaluate("window.isTheSamePage = true")
    stop = small.get_by_role("link", name="Stop small")
    stop.focus()

    open_circuit(fleet)

    expect(small).to_contain_text(OPEN)
    expect(small).to_contain_text("50")
    expect(page.locator("[data-target]").first).to_contain_text("small")
    expect(stop).to_be_focused()
    assert page.evaluate("window.isTheSamePage")


def test_nothing_is_fetched_while_nobody_looks(fleet: Fleet, sign_in: Callable, open_page: Callable) -> None:
    sign_in(make_ops())
    page: Page = open_page("/admin/health/")
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    hide(page, hidden=True)
    page.wait_for_timeout(2_500)
    assert fetched == []
    open_circuit(fleet)

    hide(page, hidden=False)

    expect(page.locator("[data-target=small]")).to_contain_text("Open", timeout=1_500)


def hide(page: Page, *, hidden: bool) -> None:
    """What a browser does when another tab comes to the front."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_it_says_when_it_is_out_of_date_and_recovers(
    fleet: Fleet, sign_in: Callable, open_page: Callable
) -> None:
    sign_in(make_ops())
    page: Page = open_page("/admin/health/")
    stale = page.get_by_text("This is not up to date")
    expect(stale).to_be_hidden()

    cookies = page.context.cookies()
    page.context.clear_cookies()  # signed out: the server leads to the log-in page
    expect(stale).to_be_visible()
    expect(page.locator("[data-target=small]")).to_contain_text("Healthy")
    page.context.add_cookies(cookies)

    expect(stale).to_be_hidden()


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_it_fits_a_phone(fleet: Fleet, sign_in: Callable, open_page: Callable, color_scheme: str) -> None:
    open_circuit(fleet)
    sign_in(make_ops())

    page: Page = open_page("/admin/health/", viewport=PHONE, color_scheme=color_scheme)

    expect(page.locator("[data-target=small]")).to_contain_text("last fault: 503")
    assert_fits_the_width(page)
