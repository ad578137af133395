"""Secrets that Signalbox shows its providers: write-only, sealed in the row, or in the environment."""

import os
from dataclasses import dataclass, field

from django.conf import settings
from django.db import transaction
from django.db.models import F

from policies_app.models import AuditAction, Credential
from policies_app.sealing import UnsealError, seal, secret_key_from_text, unseal
from policies_app.services.audit import fields_of, record_action, record_change
from policies_app.services.errors import ServiceError

_LONGEST_SECRET = 4_096
# Shorter secrets would be given away by their end.
_SHORTEST_WITH_LAST_FOUR = 12
# Whoever may edit providers must not be able to have these sent to an address of their own.
_OWN_VARIABLES = frozenset({"SECRET_KEY", "DATABASE_URL", "CELERY_BROKER_URL", "EMAIL_URL"})
_OWN_PREFIX = "SIGNALBOX_"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReading:
    """A credential's secret as this process has it, None with the `problem` where it is not to be had."""

    secret: str | None = field(default=None, repr=False)
    problem: str = ""

    @property
    def last_four(self) -> str:
        """What may be shown of it."""
        return "" if self.secret is None else _last_four(self.secret)


class UnusableSecretError(ServiceError):
    """The secret cannot be sent as a header value."""


@transaction.atomic
def set_provider_secret(*, credential: Credential, secret: str, author_name: str, reason: str = "") -> None:
    """Seal `secret` into the credential's row, in place of what it held. Processes use it within 250 ms.

    Nothing that was held against the old one counts, also where both end alike or show no end: it counts as mended then.

    :raises UnusableSecretError: if it is empty, too long, or holds anything but visible ASCII.
    """
    _require_usable(secret)
    before, known = credential.last_four, read_secret(credential=credential)
    credential.sealed_secret = seal(plaintext=secret, key=_key(), bound_to=_binding(credential))
    credential.last_four = _last_four(secret)
    credential.environment_variable = ""
    is_told_apart = known.secret is None or known.last_four != credential.last_four
    credential.times_mended = 0 if is_told_apart else credential.times_mended + 1
    credential.save(update_fields=["sealed_secret", "last_four", "environment_variable", "times_mended"])
    record_action(
        action=AuditAction.SECRET_SET,
        subject=credential,
        author_name=author_name,
        before={"last_four": before},
        after={"last_four": credential.last_four},
        reason=reason,
    )


def read_secret(*, credential: Credential) -> SecretReading:
    """Return the secret that calls with `credential` show."""
    name = credential.environment_variable
    if name in _OWN_VARIABLES or name.startswith(_OWN_PREFIX):
        return SecretReading(problem=f"the variable {name} is Signalbox's own, and no vendor's")
    try:
        secret = os.environ.get(name) if name else open_secret(credential=credential)
        if not secret:
            return SecretReading(problem=f"the variable {name} is not set" if name else "it has no secret")
        _require_usable(secret)
    except UnsealError as error:
        return SecretReading(problem=f"its secret cannot be opened: {error}".rstrip("."))
    except UnusableSecretError as error:
        return SecretReading(problem=f"its secret cannot be used: {error}".rstrip("."))
    return SecretReading(secret=secret)


@transaction.atomic
def mend_credential(*, credential: Credential, author_name: str) -> None:
    """Declare that its vendor takes it again: within 250 ms, nothing that is held against it counts any more."""
    before = fields_of(credential)
    Credential.objects.filter(pk=credential.pk).update(times_mended=F("times_mended") + 1)
    credential.refresh_from_db(fields=["times_mended"])
    record_change(subject=credential, before=before, author_name=author_name)


def name_of(credential: Credential, *, last_four: str) -> str:
    """What a credential is called on pages, in the log and by breakers: otherwise when its secret is another, or was mended."""
    name = f"{credential.label} …{last_four}" if last_four else credential.label
    return f"{name} #{credential.times_mended + 1}" if credential.times_mended else name


def open_secret(*, credential: Credential) -> str | None:
    """Return the secret that is sealed in the row, or None if there is none.

    :raises UnsealError: if the row was sealed under another key or tampered with.
    """
    if credential.sealed_secret is None:
        return None
    return unseal(sealed=bytes(credential.sealed_secret), key=_key(), bound_to=_binding(credential))


def _last_four(secret: str) -> str:
    return secret[-4:] if len(secret) >= _SHORTEST_WITH_LAST_FOUR else ""


def _require_usable(secret: str) -> None:
    if not secret:
        raise UnusableSecretError("The secret is empty.")
    if len(secret) > _LONGEST_SECRET:
        raise UnusableSecretError(f"The secret is longer than {_LONGEST_SECRET} characters.")
    if not all("!" <= character <= "~" for character in secret):
        raise UnusableSecretError("The secret holds spaces or characters that no HTTP header can carry.")


def _binding(credential: Credential) -> str:
    return f"credential:{credential.pk}"


def _key() -> bytes:
    return secret_key_from_text(settings.ENCRYPTION_KEY)
