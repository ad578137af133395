"""An emergency, from the stop to its end."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from dispatch_app.models import ServingProcess
from policies_app.models import KillSwitch
from tests.factories import make_fleet, make_published_policy
from tests.personas import make_admin, make_ops

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def web(transactional_db: None) -> Iterator[ServingProcess]:
    """One that does not follow before it is told to. Processes of other tests may serve as well."""
    now = timezone.now()
    process = ServingProcess.objects.create(
        id=uuid4(),
        hostname="web",
        pid=1,
        started_at=now,
        epoch=-1,
        acknowledged_at=now,
        seen_at=now + timedelta(hours=1),
    )
    yield process
    process.delete()


def test_a_switch_is_previewed_confirmed_followed_and_lifted_by_somebody_else(web, sign_in, open_page):
    fleet = make_fleet()
    make_published_policy("auto", models=[fleet.small, fleet.mid])
    sign_in(make_ops())
    page = open_page("/admin/policies_app/killswitch/add/")
    expect(page.get_by_label("Model")).to_be_hidden()

    page.get_by_label("Stop what").select_option("model")
    page.locator(".field-model .select2-selection, #id_model + .select2").first.click()
    page.get_by_role("option", name="small").click()
    page.get_by_label("Reason").fill("the vendor answers nonsense")
    page.get_by_label("Lifted by a second person").check()
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("auto / default loses small; mid would answer.")).to_be_visible()
    assert not KillSwitch.objects.exists()
    page.get_by_role("button", name="Stop it").click()

    expect(page.get_by_text("Stopped: Model: small.")).to_be_visible()
    expect(page.get_by_text("on its way", exact=True)).to_be_visible()
    switch = KillSwitch.objects.get()
    assert switch.is_active
    ServingProcess.objects.filter(pk=web.pk).update(epoch=2**40)
    expect(page.get_by_text("everywhere", exact=True)).to_be_visible()

    page.goto(f"/admin/policies_app/killswitch/{switch.pk}/lift/")
    expect(page.get_by_text("somebody else has to lift it")).to_be_visible()
    expect(page.get_by_role("button", name="Lift the switch")).to_have_count(0)

    sign_in(make_admin())
    other = open_page(f"/admin/policies_app/killswitch/{switch.pk}/change/")
    other.locator("a[href$='/lift/']").click()
    other.get_by_role("button", name="Lift the switch").click()
    expect(other.get_by_text("Lifted: Model: small.")).to_be_visible()
    assert not KillSwitch.objects.get().is_active


def test_a_model_s_page_leads_to_the_form_with_what_would_be_stopped(sign_in, open_page):
    fleet = make_fleet()
    make_published_policy("lone", models=[fleet.small])
    sign_in(make_ops())
    page = open_page(f"/admin/policies_app/model/{fleet.small.pk}/change/")

    page.locator("a[href$='/stop/']").click()
    expect(page.get_by_text("left with none")).to_be_visible()
    page.get_by_label("Reason").fill("the vendor answers nonsense")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("Stopped: Model: small.")).to_be_visible()
    assert KillSwitch.objects.get().is_active


def test_the_form_says_which_field_the_scope_needs(sign_in, open_page):
    sign_in(make_ops())
    page = open_page("/admin/policies_app/killswitch/add/")

    page.get_by_label("Stop what").select_option("rule")
    page.get_by_label("Reason").fill("test")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("The scope rule needs this field.")).to_have_count(2)
