"""The people of the tests: a member of ops, a member of finance, a superuser, and somebody who is no staff."""

from itertools import count

from django.contrib.auth.models import Group, User
from knox.models import AuthToken
from rest_framework.test import APIClient

from policies_app.roles import FINANCE, OPS

_serial = count(1)


def make_ops() -> User:
    return _member(OPS)


def make_finance() -> User:
    return _member(FINANCE)


def make_admin() -> User:
    return User.objects.create_superuser(f"admin-{next(_serial)}")


def make_stranger() -> User:
    """Has an account and every permission of ops, but is no staff."""
    user = _member(OPS)
    user.is_staff = False
    user.save()
    return user


def api_client(user: User | None = None) -> APIClient:
    """A client of the management API that acts as `user`, by a token; as nobody without one."""
    client = APIClient()
    if user is not None:
        _, token = AuthToken.objects.create(user)
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def _member(group: str) -> User:
    user = User.objects.create_user(f"{group}-{next(_serial)}", is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return user
