"""What is wrong with where alerts are to go, by field, in words for whoever typed it."""

from collections.abc import Mapping
from typing import Any

SHORTEST_SECRET = 16
"""Characters of a secret that signatures are made with."""


def destination_errors(values: Mapping[str, Any], *, has_secret: bool) -> dict[str, str]:
    """The admin's form and the API's serializer ask this. `has_secret` says that one was given, or is kept.

    What is wrong with several fields at once stands under the empty name.
    """
    webhook_url = values.get("webhook_url") or ""
    if bool(values.get("email")) == bool(webhook_url):
        return {"": "Give an e-mail address or a webhook, not both."}
    errors = {}
    if webhook_url and not webhook_url.startswith("https://") and not values.get("allow_private_network"):
        errors["webhook_url"] = "It must begin with https:// unless private networks are allowed."
    if webhook_url and not has_secret:
        errors["secret"] = "A webhook needs a secret to check the signature by."  # noqa: S105 - a complaint
    return errors
