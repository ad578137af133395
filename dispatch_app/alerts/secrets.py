"""The secrets that webhooks' signatures are made with: write-only, sealed in the row."""

from django.conf import settings

from dispatch_app.models import AlertDestination
from policies_app.sealing import seal, secret_key_from_text, unseal


def seal_secret(destination: AlertDestination, secret: str) -> None:
    """Put `secret` into the row of a saved destination, in place of what it held."""
    destination.sealed_secret = seal(plaintext=secret, key=_key(), bound_to=_binding(destination))
    destination.save(update_fields=["sealed_secret"])


def open_secret(destination: AlertDestination) -> str:
    """The secret of a destination, empty if it has none.

    :raises UnsealError: if the row was sealed under another key or tampered with.
    """
    if destination.sealed_secret is None:
        return ""
    return unseal(sealed=bytes(destination.sealed_secret), key=_key(), bound_to=_binding(destination))


def _binding(destination: AlertDestination) -> str:
    return f"alert_destination:{destination.pk}"


def _key() -> bytes:
    return secret_key_from_text(settings.ENCRYPTION_KEY)
