"""A provider's credentials in a browser: how each fares, and a test of one."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from dispatch_app.execution.breaker import Cause
from policies_app.models import Credential
from policies_app.routing.codes import HealthState
from policies_app.services.credentials import set_provider_secret
from sandbox.server import SandboxServer
from tests.browser.conftest import DESKTOP, PHONE, assert_fits_the_width
from tests.dispatch_app.health.target_rows import make_process, make_target
from tests.personas import make_ops
from tests.running_servers import Shop, open_shop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(vendor: SandboxServer) -> Shop:
    """A provider with one credential that takes traffic, one that is refused, and one without its variable."""
    shop = open_shop(vendor)
    provider, process = shop.fleet.provider, make_process()
    refused = Credential.objects.create(provider=provider, label="old project", weight=2)
    set_provider_secret(credential=refused, secret="sk-refused-by-vendor-9876", author_name="test")
    Credential.objects.create(provider=provider, label="outside", environment_variable="NOT_SET_ANYWHERE")
    # A browser takes its time on a machine that is busy.
    fresh = timezone.now() + timedelta(minutes=1)
    make_target(process, shop.fleet.small, credential="test …1234", seen_at=fresh)
    make_target(
        process,
        shop.fleet.small,
        credential="old project …9876",
        state=HealthState.OPEN,
        cause=Cause.CREDENTIAL,
        seen_at=fresh,
    )
    vendor.script("401", key="sk-refused-by-vendor-9876")
    return shop


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_a_credential_is_tested_from_its_providers_page(
    shop: Shop, sign_in: Callable, open_page: Callable, viewport: tuple[int, int], color_scheme: str
) -> None:
    sign_in(make_ops())
    address = f"/admin/policies_app/provider/{shop.fleet.provider.pk}/change/"
    page: Page = open_page(address, viewport=viewport, color_scheme=color_scheme)
    expect(page.get_by_text("refused for small")).to_be_visible()
    expect(page.get_by_text("takes traffic", exact=True)).to_be_visible()
    expect(page.get_by_text("out of service: the variable NOT_SET_ANYWHERE is not set")).to_be_visible()
    assert_fits_the_width(page)

    page.get_by_role("link", name="Test …").first.click()
    page.get_by_role("button", name="Test it").click()

    expect(page.locator("[data-report=answered]")).to_contain_text("small answered in")
    assert_fits_the_width(page)
    page.go_back()
    page.goto(address)
    page.get_by_role("link", name="Test …").nth(1).click()
    page.get_by_role("button", name="Test it").click()
    expect(page.locator("[data-report=failed]")).to_contain_text("refuses this credential (HTTP 401).")
    assert_fits_the_width(page)


def test_a_refused_credential_that_answers_again_can_be_taken_back(
    vendor: SandboxServer, shop: Shop, sign_in: Callable, open_page: Callable
) -> None:
    vendor.clear_faults()
    sign_in(make_ops())
    credential = Credential.objects.get(label="old project")
    page: Page = open_page(f"/admin/policies_app/provider/credentials/{credential.pk}/test/")
    page.get_by_role("button", name="Test it").click()

    page.get_by_role("button", name="Let all processes use it at once").click()

    expect(page.get_by_text("takes traffic again in all processes")).to_be_visible()
    expect(page.get_by_text("refused for small")).to_have_count(0)
    credential.refresh_from_db()
    assert credential.times_mended == 1
