"""An emergency, from the stop to its end."""

import pytest
from playwright.sync_api import expect

from policies_app.models import KillSwitch
from tests.factories import make_fleet
from tests.personas import make_ops

pytestmark = pytest.mark.django_db(transaction=True)


def test_ops_throw_a_switch_and_lift_it(sign_in, open_page):
    make_fleet()
    sign_in(make_ops())
    page = open_page("/admin/policies_app/killswitch/add/")
    expect(page.get_by_label("Model")).to_be_hidden()

    page.get_by_label("Stop what").select_option("model")
    page.locator(".field-model .select2-selection, #id_model + .select2").first.click()
    page.get_by_role("option", name="small").click()
    page.get_by_label("Reason").fill("the vendor answers nonsense")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("Stopped: Model: small.")).to_be_visible()
    assert KillSwitch.objects.get().is_active
    page.get_by_role("link", name="small", exact=True).click()
    page.locator("a[href$='/lift/']").click()
    page.get_by_role("button", name="Lift the switch").click()

    expect(page.get_by_text("Lifted: Model: small.")).to_be_visible()
    assert not KillSwitch.objects.get().is_active


def test_the_form_says_which_field_the_scope_needs(sign_in, open_page):
    sign_in(make_ops())
    page = open_page("/admin/policies_app/killswitch/add/")

    page.get_by_label("Stop what").select_option("rule")
    page.get_by_label("Reason").fill("test")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_text("The scope rule needs this field.")).to_have_count(2)
