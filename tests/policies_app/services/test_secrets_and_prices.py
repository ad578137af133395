import secrets
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, InternalError, connection, transaction
from django.utils import timezone

from policies_app.api_key_format import parse_key, secret_digest
from policies_app.models import AuditEntry, Credential
from policies_app.sealing import UnsealError, secret_key_from_text
from policies_app.services.api_keys import (
    ApiKeyLabelTakenError,
    ApiKeyPolicyError,
    create_api_key,
    disable_api_key,
    rotate_api_key,
)
from policies_app.services.credentials import (
    UnusableSecretError,
    mend_credential,
    name_of,
    open_secret,
    read_secret,
    set_provider_secret,
)
from policies_app.services.prices import PriceExistsError, set_price
from tests.factories import make_model, make_policy, make_provider, make_tenant

pytestmark = pytest.mark.django_db


def opens(row, text):
    parsed = parse_key(text)
    digest = secret_digest(secret=parsed.secret, pepper=secret_key_from_text(settings.API_KEY_PEPPER))
    return (parsed.public_id, digest) == (row.public_id, bytes(row.secret_hmac))


def stands_in_the_database(secret):
    """Whether any column of any row holds the text, as it is or as bytes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        dump = []
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{table}" AS t')
            dump += cursor.fetchall()
    return any(form in row for (row,) in dump for form in (secret, secret.encode().hex()))


def test_a_created_key_opens_and_stands_nowhere_in_the_database():
    issued = create_api_key(tenant=make_tenant(), label="app", author_name="ops")

    assert opens(issued.row, issued.text)
    secret = parse_key(issued.text).secret
    assert stands_in_the_database(issued.row.public_id)
    assert not stands_in_the_database(secret)
    assert secret not in repr(issued)


def test_a_rotated_key_keeps_its_row_and_drops_its_old_text():
    issued = create_api_key(tenant=make_tenant(), label="app", author_name="ops")

    rotated = rotate_api_key(api_key=issued.row, author_name="ops", reason="leaked")

    assert rotated.row.pk == issued.row.pk
    assert opens(rotated.row, rotated.text)
    assert not opens(rotated.row, issued.text)


def test_a_key_is_disabled_once():
    issued = create_api_key(tenant=make_tenant(), label="app", author_name="ops")

    disable_api_key(api_key=issued.row, author_name="ops", reason="leaked")
    disable_api_key(api_key=issued.row, author_name="ops", reason="again")

    issued.row.refresh_from_db()
    assert not issued.row.enabled
    assert list(AuditEntry.objects.filter(action="disabled").values_list("reason", flat=True)) == ["leaked"]


def test_a_label_names_one_key_of_a_tenant():
    tenant = make_tenant()
    create_api_key(tenant=tenant, label="app", author_name="ops")

    with pytest.raises(ApiKeyLabelTakenError, match="app"):
        create_api_key(tenant=tenant, label="app", author_name="ops")


def test_a_key_gets_no_policy_of_another_tenant():
    foreign = make_policy("foreign", tenant=make_tenant())

    with pytest.raises(ApiKeyPolicyError, match="foreign"):
        create_api_key(tenant=make_tenant(), label="app", policies=[foreign], author_name="ops")


def test_a_secret_is_sealed_and_shows_its_last_four_only():
    credential = Credential.objects.create(provider=make_provider(), label="main")
    secret = f"sk-{secrets.token_hex(16)}"

    set_provider_secret(credential=credential, secret=secret, author_name="ops")

    credential.refresh_from_db()
    assert open_secret(credential=credential) == secret
    assert credential.last_four == secret[-4:]
    assert not stands_in_the_database(secret)


def test_a_sealed_secret_copied_to_another_row_does_not_open():
    provider = make_provider()
    one, other = (Credential.objects.create(provider=provider, label=label) for label in ("one", "other"))
    set_provider_secret(credential=one, secret="sk-of-the-first", author_name="ops")

    Credential.objects.filter(pk=other.pk).update(sealed_secret=one.sealed_secret)
    other.refresh_from_db()

    with pytest.raises(UnsealError):
        open_secret(credential=other)


def test_a_short_secret_shows_nothing_of_itself():
    credential = Credential.objects.create(provider=make_provider(), label="main")

    set_provider_secret(credential=credential, secret="hunter2", author_name="ops")

    assert credential.last_four == ""


@pytest.mark.parametrize("secret", ["", "two words", "line\nbreak", "schlüssel", "x" * 4_097])
def test_a_secret_that_no_header_carries_is_refused(secret):
    credential = Credential.objects.create(provider=make_provider(), label="main")

    with pytest.raises(UnusableSecretError):
        set_provider_secret(credential=credential, secret=secret, author_name="ops")


@pytest.mark.parametrize("variable", ["SECRET_KEY", "DATABASE_URL", "SIGNALBOX_ENCRYPTION_KEY"])
def test_what_is_signalboxs_own_is_no_secret_for_a_vendor(monkeypatch, variable):
    monkeypatch.setenv(variable, "what-nobody-else-may-know")
    credential = Credential(label="main", environment_variable=variable)

    reading = read_secret(credential=credential)

    assert (reading.secret, reading.last_four) == (None, "")
    assert reading.problem == f"the variable {variable} is Signalbox's own, and no vendor's"


def test_a_mended_credential_is_called_otherwise_until_its_secret_is_replaced():
    credential = Credential.objects.create(provider=make_provider(), label="main")
    set_provider_secret(credential=credential, secret="sk-first-secret-1234", author_name="ops")
    assert name_of(credential, last_four="1234") == "main …1234"

    for name in ("main …1234 #2", "main …1234 #3"):
        mend_credential(credential=credential, author_name="ops")
        assert name_of(credential, last_four="1234") == name
    entry = AuditEntry.objects.latest("id")
    assert (entry.before, entry.after) == ({"times_mended": 1}, {"times_mended": 2})

    set_provider_secret(credential=credential, secret="sk-other-secret-5678", author_name="ops")
    assert name_of(credential, last_four="5678") == "main …5678"


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("sk-an-old-secret-1234", "sk-a-new-secret-1234", "main …1234 #2"),
        ("sk-an-old-secret-1234", "sk-an-old-secret-1234", "main …1234 #2"),
        ("short", "other", "main #2"),
        ("sk-an-old-secret-1234", "sk-a-new-secret-5678", "main …5678"),
        ("short", "sk-a-new-secret-5678", "main …5678"),
    ],
)
def test_a_replaced_secret_is_called_otherwise_even_if_it_ends_alike(old, new, name):
    """What breakers hold against the old one, they hold by its name."""
    credential = Credential.objects.create(provider=make_provider(), label="main")
    set_provider_secret(credential=credential, secret=old, author_name="ops")

    set_provider_secret(credential=credential, secret=new, author_name="ops")

    assert name_of(credential, last_four=read_secret(credential=credential).last_four) == name


def test_a_price_holds_from_its_instant_on_and_the_older_one_stays():
    model = make_model()
    later = timezone.now() + timedelta(days=1)

    price = set_price(model=model, input_nanos=5, output_nanos=7, effective_from=later, author_name="finance")

    assert (price.cached_input_nanos, price.cache_write_nanos, price.reasoning_nanos) == (5, 5, 7)
    assert model.prices.count() == 2
    with pytest.raises(PriceExistsError):
        set_price(model=model, input_nanos=1, output_nanos=1, effective_from=later, author_name="finance")


def test_the_audit_trail_can_be_neither_changed_nor_deleted():
    set_price(model=make_model(), input_nanos=5, output_nanos=7, author_name="finance")

    for change in (
        lambda: AuditEntry.objects.update(author_name="nobody"),
        lambda: AuditEntry.objects.all().delete(),
    ):
        with pytest.raises((InternalError, IntegrityError), match="append-only"), transaction.atomic():
            change()


def test_an_api_token_is_made_for_active_staff_only():
    User.objects.create(username="ops", is_staff=True)
    User.objects.create(username="guest")
    output = StringIO()

    call_command("create_api_token", "ops", stdout=output)

    assert len(output.getvalue().strip()) >= 32
    with pytest.raises(CommandError, match="guest"):
        call_command("create_api_token", "guest")
