"""Secrets that Signalbox shows its providers: write-only, sealed in the row, or in the environment."""

import os
from dataclasses import dataclass, field

from django.conf import settings
from django.db import transaction

from policies_app.models import AuditAction, Credential
from policies_app.sealing import UnsealError, seal, secret_key_from_text, unseal
from policies_app.services.audit import record_action
from policies_app.services.errors import ServiceError

_LONGEST_SECRET = 4_096
# Shorter secrets would be given away by their end.
_SHORTEST_WITH_LAST_FOUR = 12


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

    :raises UnusableSecretError: if it is empty, too long, or holds anything but visible ASCII.
    """
    _require_usable(secret)
    before = credential.last_four
    credential.sealed_secret = seal(plaintext=secret, key=_key(), bound_to=_binding(credential))
    credential.last_four = _last_four(secret)
    credential.environment_variable = ""
    credential.save(update_fields=["sealed_secret", "last_four", "environment_variable"])
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


def name_of(*, label: str, last_four: str) -> str:
    """What a credential is called on pages and in the log."""
    return f"{label} …{last_four}" if last_four else label


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
