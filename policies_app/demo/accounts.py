"""The demo's log-ins: a superuser, and a member of finance."""

import secrets

from django.contrib.auth.models import Group, User

from policies_app.roles import FINANCE

ADMIN_USER = "admin"
FINANCE_USER = "finance"
_PASSWORD_BYTES = 12


def seed_admin(*, known_password: str | None) -> str:
    """Return the superuser's password: the known one of an existing account, else a new random one."""
    user, is_new = User.objects.get_or_create(
        username=ADMIN_USER, defaults={"is_staff": True, "is_superuser": True}
    )
    return _password(user, None if is_new else known_password)


def seed_finance(*, known_password: str | None) -> str:
    """Return the finance member's password, as `seed_admin` does."""
    user, is_new = User.objects.get_or_create(username=FINANCE_USER, defaults={"is_staff": True})
    if is_new:
        user.groups.add(Group.objects.get(name=FINANCE))
    return _password(user, None if is_new else known_password)


def _password(user: User, known: str | None) -> str:
    # A password that its user has changed since is left alone: the file is then out of date, not the user.
    if known is not None:
        return known
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    user.set_password(password)
    user.save(update_fields=["password"])
    return password
