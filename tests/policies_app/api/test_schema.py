import pytest
from django.core.management import call_command
from django.test import Client

from tests.personas import api_client, make_ops


def test_the_schema_is_valid_and_complete(tmp_path):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))

    text = (tmp_path / "schema.yml").read_text()
    assert "/api/v1/policies/{name}/roll-back/" in text


@pytest.mark.django_db
def test_the_documentation_is_for_staff_only():
    browser = Client()
    assert browser.get("/api/docs/").status_code == 302
    assert browser.get("/api/schema/").status_code in {401, 403}

    browser.force_login(make_ops())
    assert browser.get("/api/docs/").status_code == 200
    assert browser.get("/api/schema/").status_code == 200
    assert api_client(make_ops()).get("/api/schema/").status_code == 200
