import contextlib
import hmac
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dispatch_app.gateway import authentication
from dispatch_app.gateway.authentication import authenticate
from dispatch_app.gateway.errors import RequestError
from dispatch_app.snapshot.types import ServedKey, ServedTenant
from policies_app.api_key_format import generate_key, secret_digest

NOW = datetime(2026, 5, 4, tzinfo=UTC)
PEPPER = bytes(range(32))
GENERATED = generate_key()
TENANT = ServedTenant(id=1, name="acme", zone=ZoneInfo("UTC"), enabled=True, budgets=())
KEY = ServedKey(
    id=1,
    public_id=GENERATED.public_id,
    secret_hmac=secret_digest(secret=GENERATED.secret, pepper=PEPPER),
    tenant=TENANT,
    enabled=True,
    expires_at=None,
    policies=None,
    may_call_models=False,
    may_explain_drafts=False,
)


def ask(header: str | None, *, key: ServedKey = KEY, pepper: bytes = PEPPER) -> ServedKey:
    return authenticate(header, keys={key.public_id: key}, pepper=pepper, now=NOW)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_key_is_known_by_its_secret(scheme: str) -> None:
    assert ask(f"{scheme} {GENERATED.text}") is KEY


def test_a_key_is_good_until_it_expires() -> None:
    key = replace(KEY, expires_at=NOW + timedelta(seconds=1))

    assert ask(f"Bearer {GENERATED.text}", key=key) is key


OTHER = generate_key()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {GENERATED.text}",
        GENERATED.text,
        f"Bearer {GENERATED.text[:-1]}",
        f"Bearer {GENERATED.text}x",
        f"Bearer {GENERATED.text.swapcase()}",
        f"Bearer {OTHER.text}",  # unknown
        "Bearer ' OR 1=1 --",
        "Bearer sbx_ü",
        "Bearer " + "x" * 100_000,
    ],
    ids=[
        "none", "empty", "no key", "a space", "basic", "no scheme", "cut", "longer", "other case", "unknown", "injection",
        "not ascii", "huge",
    ],
)  # fmt: skip
def test_what_is_no_known_key_is_refused(header: str | None) -> None:
    with pytest.raises(RequestError) as raised:
        ask(header)

    assert (raised.value.status, raised.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "key",
    [
        replace(KEY, enabled=False),
        replace(KEY, expires_at=NOW),
        replace(KEY, tenant=replace(TENANT, enabled=False)),
        replace(KEY, secret_hmac=secret_digest(secret=OTHER.secret, pepper=PEPPER)),
    ],
)
def test_a_known_key_that_may_not_be_used_is_refused_alike(key: ServedKey) -> None:
    with pytest.raises(RequestError) as raised:
        ask(f"Bearer {GENERATED.text}", key=key)

    assert raised.value.status == 401


def test_all_of_a_secret_is_compared() -> None:
    half = KEY.secret_hmac[:16]

    with pytest.raises(RequestError):
        ask(f"Bearer {GENERATED.text}", key=replace(KEY, secret_hmac=half + bytes(16)))


@pytest.mark.parametrize("key", [KEY, replace(KEY, enabled=False)], ids=["known", "refused"])
def test_what_a_caller_presents_is_never_logged(key: ServedKey, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), contextlib.suppress(RequestError):
        ask(f"Bearer {GENERATED.text}", key=key)

    assert GENERATED.secret not in caplog.text


def test_another_pepper_proves_nothing() -> None:
    with pytest.raises(RequestError):
        ask(f"Bearer {GENERATED.text}", pepper=bytes(32))


def test_an_unknown_id_is_compared_like_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return hmac.compare_digest(left, right)

    monkeypatch.setattr(authentication, "hmac", type("Spy", (), {"compare_digest": staticmethod(compare)}))

    with pytest.raises(RequestError):
        ask(f"Bearer {OTHER.text}")

    ((left, right),) = compared
    assert len(left) == len(right) == 32
