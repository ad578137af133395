"""Whatever is sent, the answer is a 4xx in the API's own shape."""

import pytest

from policies_app.models import Provider

DEEP = b"[" * 200_000


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"NaN",
        b"\xff\xfe",
        DEEP,
        b'{"name": ' + DEEP,
        b'{"name": 1e400}',
        b'{"name": {"a": 1}}',
        b'{"name": "p", "base_url": "https://a.example/\\u0000"}',
        b'{"name": "p", "base_url": "\\ud800"}',
        b'{"name": "p", "base_url": "https://a.example", "connect_timeout_ms": 1e308}',
        b'{"name": "p", "base_url": "https://a.example", "connect_timeout_ms": ' + b"9" * 5000 + b"}",
        b'{"name": "p", "base_url": "javascript:alert(1)"}',
    ],
)
def test_a_body_that_means_nothing_is_refused(ops, body):
    answer = ops.generic("POST", "/api/v1/providers/", body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()
    assert not Provider.objects.exists()


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/models/%00/",
        "/api/v1/models/%ED%A0%80/",
        "/api/v1/budgets/no-number/",
        "/api/v1/budgets/99999999999999999999999/",
        "/api/v1/prices/-1/",
        "/api/v1/keys/%00/",
        "/api/v1/policies/%00/verify/",
        "/api/v1/kill-switches/%00/",
    ],
)
def test_an_address_that_names_nothing_is_not_found(ops, address):
    assert ops.get(address).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "search=%00",
        "provider=%00",
        "enabled=maybe",
        "ordering=provider__credentials__sealed_secret",
        "page=0",
        "page=99999999999999999999",
        "tier=%00",
    ],
)
def test_a_query_that_means_nothing_does_no_harm(ops, query):
    assert ops.get(f"/api/v1/models/?{query}").status_code in {200, 400, 404}


def test_another_format_than_json_is_refused(ops):
    answer = ops.post("/api/v1/providers/", {"name": "openai"})  # a form

    assert answer.status_code == 415


def test_a_body_that_is_too_large_is_refused(ops, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000

    answer = ops.post("/api/v1/providers/", {"name": "x" * 1000}, format="json")

    assert answer.status_code == 413
