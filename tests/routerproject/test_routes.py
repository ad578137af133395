"""Every address of the control plane against everybody: nobody signed in, finance, ops and a superuser.

A route that stands in no table fails, so that nothing is served that nobody has decided about.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from dispatch_app.models import Alert, AlertDestination, Attempt, BudgetBalance, Dispatch, ServingProcess
from policies_app.models import AuditEntry, Credential, QualityScore
from policies_app.routing.codes import KillScope
from policies_app.services.budget_raises import raise_budget
from policies_app.services.kill_switches import throw_kill_switch
from policies_app.services.publishing import publish_policy
from tests.factories import (
    make_budget,
    make_fleet,
    make_judge,
    make_key,
    make_policy,
    make_rate_limit,
    make_tenant,
)
from tests.personas import api_client, make_admin, make_finance, make_ops

pytestmark = pytest.mark.django_db

EVERYBODY = {"nobody", "finance", "ops", "admin"}
STAFF = {"finance", "ops", "admin"}
OPS = {"ops", "admin"}
FINANCE = {"finance", "admin"}
ADMIN = {"admin"}
NONE: set[str] = set()

# What a page of the admin answers to those who may open it.
PAGES: dict[str, tuple[int, set[str]]] = {
    "admin:index": (200, STAFF),
    "admin:search": (200, STAFF),
    "admin:password_change": (200, STAFF),
    "admin:password_change_done": (200, STAFF),
    "admin:jsi18n": (200, STAFF),
    "admin:policies_app_apikey_rotate": (200, OPS),
    "admin:policies_app_budgetraise_confirm": (200, FINANCE),
    "admin:policies_app_credential_test": (200, OPS),
    "admin:policies_app_budgetraise_withdraw": (200, FINANCE),
    "admin:policies_app_killswitch_lift": (200, OPS),
    "admin:policies_app_killswitch_receipt": (200, STAFF),
    "admin:policies_app_apikey_stop": (302, OPS),
    "admin:policies_app_model_stop": (302, OPS),
    "admin:policies_app_policy_stop": (302, OPS),
    "admin:policies_app_provider_stop": (302, OPS),
    "admin:policies_app_tenant_stop": (302, OPS),
    "admin:policies_app_model_add_price": (302, OPS),
    "admin:policies_app_model_price_from_catalogue": (200, OPS),
    "admin:policies_app_policy_import_yaml": (200, OPS),
    "admin:policies_app_policy_publish": (200, OPS),
    "admin:policies_app_policy_roll_back": (200, OPS),
    "admin:policies_app_policy_add_rule": (302, OPS),
    "admin:policies_app_policy_history_of_versions": (302, STAFF),
    "admin:policies_app_policy_export_yaml": (200, STAFF),
    "admin:policies_app_rule_open_policy": (302, STAFF),
    "admin:auth_user_password_change": (200, ADMIN),
    "admin:dispatch_app_dispatch_open_cost_page": (302, FINANCE),
    "admin:dispatch_app_alertdestination_send_test": (200, OPS),
    "api-docs": (200, STAFF),
    "costs:tenants": (200, FINANCE),
    "costs:tenant": (200, FINANCE),
    "costs:dispatches": (200, FINANCE),
    "costs:dispatch": (200, FINANCE),
    "costs:export": (200, FINANCE),
    "health:live": (200, OPS),
    "health:page": (200, OPS),
    "home": (302, EVERYBODY),
    "price-gaps": (200, STAFF),
    "reconcile:page": (200, STAFF),
    "reconcile:run": (405, STAFF),
    "login": (200, EVERYBODY),
    "logout": (405, EVERYBODY),
}

# Who may view, add, change and delete the rows of a model on its pages.
ROWS: dict[str, tuple[set[str], set[str], set[str], set[str]]] = {
    "auth_group": (ADMIN, ADMIN, ADMIN, ADMIN),
    "auth_user": (ADMIN, ADMIN, ADMIN, ADMIN),
    "dispatch_app_alert": (STAFF, NONE, NONE, NONE),
    "dispatch_app_alertdestination": (STAFF, OPS, OPS, OPS),
    "dispatch_app_attempt": (STAFF, NONE, NONE, NONE),
    "dispatch_app_budgetbalance": (FINANCE, NONE, NONE, NONE),
    "dispatch_app_dispatch": (STAFF, NONE, NONE, NONE),
    "dispatch_app_servingprocess": (OPS, NONE, NONE, NONE),
    "policies_app_apikey": (STAFF, OPS, OPS, NONE),
    "policies_app_auditentry": (STAFF, NONE, NONE, NONE),
    "policies_app_budget": (STAFF, FINANCE, FINANCE, NONE),
    "policies_app_budgetraise": (STAFF, FINANCE, NONE, NONE),
    "policies_app_judge": (STAFF, OPS, OPS, NONE),
    "policies_app_killswitch": (STAFF, OPS, NONE, NONE),
    "policies_app_model": (STAFF, OPS, OPS, NONE),
    "policies_app_policy": (STAFF, OPS, OPS, NONE),
    "policies_app_policyversion": (STAFF, NONE, NONE, NONE),
    "policies_app_price": (STAFF, OPS, NONE, NONE),
    "policies_app_provider": (STAFF, OPS, OPS, NONE),
    "policies_app_qualityscore": (STAFF, OPS, OPS, OPS),
    "policies_app_ratelimit": (STAFF, OPS, OPS, NONE),
    "policies_app_rule": (STAFF, OPS, OPS, OPS),
    "policies_app_tenant": (STAFF, OPS, OPS, NONE),
}

# Who may call what. A method that is not listed is closed to everybody.
API: dict[str, dict[str, set[str]]] = {
    "alert-list": {"GET": STAFF},
    "alert-detail": {"GET": STAFF},
    "alertdestination-list": {"GET": STAFF, "POST": OPS},
    "alertdestination-detail": {"GET": STAFF, "PUT": OPS, "PATCH": OPS, "DELETE": OPS},
    "alertdestination-test": {"POST": OPS},
    "apikey-list": {"GET": STAFF, "POST": OPS},
    "apikey-detail": {"GET": STAFF, "PUT": OPS, "PATCH": OPS},
    "budget-list": {"GET": STAFF, "POST": FINANCE},
    "budget-detail": {"GET": STAFF, "PUT": FINANCE, "PATCH": FINANCE},
    "budgetraise-list": {"GET": STAFF, "POST": FINANCE},
    "budgetraise-detail": {"GET": STAFF},
    "budgetraise-confirm": {"POST": FINANCE},
    "budgetraise-withdraw": {"POST": FINANCE},
    "cost-list": {"GET": FINANCE},
    "credential-list": {"GET": STAFF, "POST": OPS},
    "credential-detail": {"GET": STAFF, "PUT": OPS, "PATCH": OPS, "DELETE": OPS},
    "credential-mend": {"POST": OPS},
    "credential-state": {"GET": STAFF},
    "credential-test": {"POST": OPS},
    "dispatch-list": {"GET": STAFF},
    "dispatch-detail": {"GET": STAFF},
    "judge-list": {"GET": STAFF, "POST": OPS},
    "judge-detail": {"GET": STAFF, "PUT": OPS, "PATCH": OPS},
    "judge-versions": {"GET": STAFF, "POST": OPS},
    "killswitch-list": {"GET": STAFF, "POST": OPS},
    "killswitch-detail": {"GET": STAFF},
    "killswitch-lift": {"POST": OPS},
    "killswitch-preview": {"POST": OPS},
    "model-list": {"GET": STAFF, "POST": OPS},
    "model-detail": {"GET": STAFF, "PUT": OPS, "PATCH": OPS},
    "model-price-from-catalogue": {"GET": STAFF, "POST": OPS},
    "policy-list": {"GET": STAFF, "POST": OPS},
    "policy-detail": {"GET": STAFF, "PUT": OPS, "PATCH": OPS},
    "policy-diff": {"GET": STAFF},
    "policy-publish": {"POST": OPS},
    "policy-roll-back": {"POST": OPS},
    "policy-verify": {"GET": STAFF},
    "policy-versions": {"GET": STAFF},
    "price-list": {"GET": STAFF, "POST": OPS},
    "price-detail": {"GET": STAFF},
    "provider-list": {"GET": STAFF, "POST": OPS},
    "provider-detail": {"GET": STAFF, "PUT": OPS, "PATCH": OPS},
    "qualityscore-list": {"GET": STAFF, "POST": OPS},
    "qualityscore-detail": {"GET": STAFF, "PUT": OPS, "PATCH": OPS, "DELETE": OPS},
    "ratelimit-list": {"GET": STAFF, "POST": OPS},
    "ratelimit-detail": {"GET": STAFF, "PUT": OPS, "PATCH": OPS},
    "schema": {"GET": STAFF},
    "tenant-list": {"GET": STAFF, "POST": OPS},
    "tenant-detail": {"GET": STAFF, "PUT": OPS, "PATCH": OPS},
}

# Django's own answers without a page: signing in and out, a redirect, a list of choices for a field, a list of one app's models, a 404;
# and monitoring, which goes by a token of its own.
PLUMBING = {
    "admin:login",
    "admin:logout",
    "admin:autocomplete",
    "admin:view_on_site",
    "admin:app_list",
    "admin/<path:object_id>/",
    "admin/(?P<url>.*)$",
    "favicon.ico",
    "metrics",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One address: its name with its namespace, or its pattern if it has none."""

    name: str
    argument: str | None


def routes() -> dict[str, Route]:
    return {route.name: route for route in _walk(get_resolver(), namespace="")}


def _walk(resolver: URLResolver, *, namespace: str) -> Iterator[Route]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern, namespace=pattern.namespace or namespace)
        else:
            yield _route(pattern, namespace)


def _route(pattern: URLPattern, namespace: str) -> Route:
    prefix = f"{namespace}:" if namespace else ""
    unnamed = f"{namespace}/{pattern.pattern}" if namespace else str(pattern.pattern)
    argument = next(iter(pattern.pattern.converters or pattern.pattern.regex.groupindex), None)
    return Route(name=f"{prefix}{pattern.name}" if pattern.name else unnamed, argument=argument)


def row_pages(model: str) -> dict[str, set[str]]:
    """Route name to those who may open it, for the pages that every model has."""
    view, add, _change, delete = ROWS[model]
    return {
        f"admin:{model}_changelist": view,
        f"admin:{model}_change": view,
        f"admin:{model}_history": view,
        f"admin:{model}_add": add,
        f"admin:{model}_delete": delete,
    }


@pytest.fixture
def people() -> dict[str, User | None]:
    return {"nobody": None, "finance": make_finance(), "ops": make_ops(), "admin": make_admin()}


@pytest.fixture
def rows(people: dict[str, User | None]) -> dict[str, object]:
    """By model: the key of one row, so that every page has something to show."""
    fleet, tenant = make_fleet(), make_tenant("acme")
    policy = make_policy("auto", models=[fleet.small])
    version = publish_policy(policy=policy, author_name="test")
    key, budget = make_key(tenant).row, make_budget(tenant)
    switch = throw_kill_switch(scope=KillScope.EVERYTHING, reason="test", author_name="test")
    now, dispatch_id = timezone.now(), uuid4()
    dispatch = _log_row(
        Dispatch, id=dispatch_id, created_at=now, tenant=tenant, api_key=key, tags={}, reason={}
    )
    attempt = _log_row(
        Attempt,
        id=uuid4(),
        created_at=now,
        dispatch_id=dispatch_id,
        dispatch_created_at=now,
        tenant=tenant,
        model=fleet.small,
        provider=fleet.provider,
        price=fleet.small.prices.get(),
        validation=[],
        balance_ids=[],
        expires_at=now,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO budget_balance (budget_id, period_start) VALUES (%s, now()) RETURNING id",
            [budget.pk],
        )
        balance_id = cursor.fetchone()[0]
    process = ServingProcess.objects.create(
        id=uuid4(), hostname="web", pid=1, started_at=now, epoch=1, acknowledged_at=now, seen_at=now
    )
    return {
        "alert": Alert.objects.create(kind="test", key="1", title="test"),
        "alertdestination": AlertDestination.objects.create(name="mail", email="ops@example.com"),
        "apikey": key,
        "attempt": attempt,
        "auditentry": AuditEntry.objects.latest("id"),
        "budget": budget,
        "budgetraise": raise_budget(budget=budget, amount_nanos=1, reason="test", author_name="test"),
        "budgetbalance": BudgetBalance.objects.get(pk=balance_id),
        "credential": Credential.objects.create(provider=fleet.provider, label="main"),
        "dispatch": dispatch,
        "group": Group.objects.get(name="ops"),
        "judge": make_judge("helpfulness", model=fleet.mid),
        "killswitch": switch,
        "model": fleet.small,
        "policy": policy,
        "policyversion": version,
        "price": fleet.small.prices.get(),
        "provider": fleet.provider,
        "qualityscore": QualityScore.objects.create(model=fleet.small, task="code", score=0.5),
        "ratelimit": make_rate_limit(tenant, 60),
        "rule": policy.rules.get(),
        "servingprocess": process,
        "tenant": tenant,
        "user": people["ops"],
    }


def _log_row(row_class, /, **fields):
    """A row of the log in which everything that was not named is empty."""
    for field in row_class._meta.concrete_fields:
        if field.attname not in fields and field.name not in fields and not field.null:
            fields[field.name] = "" if field.get_internal_type() == "TextField" else 0
    return row_class.objects.create(**fields)


def _address(route: Route, rows: dict[str, object]) -> str:
    if route.argument is None:
        return reverse(route.name)
    if route.name.startswith("costs:"):
        model = "dispatch" if route.name == "costs:dispatch" else "tenant"
    else:
        model = re.sub(r"^(admin:)?(policies_app_|dispatch_app_|auth_)?", "", route.name)
        model = re.split(r"[-_]", model)[0]
    attribute = route.argument if route.argument in {"name", "public_id"} else "pk"
    return reverse(route.name, args=[getattr(rows[model], attribute)])


def _open(address: str, user: User | None) -> HttpResponse:
    browser = Client()
    if user is not None:
        browser.force_login(user)
    return browser.get(address)


def test_somebody_has_decided_about_every_route():
    of_rows = {name for model in ROWS for name in row_pages(model)}
    decided = {*PAGES, *of_rows, *API, *PLUMBING}

    assert set(routes()) - decided == set()
    assert decided - set(routes()) == set()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_for_those_who_may_see_it_and_for_nobody_else(name, people, rows):
    status, allowed = PAGES[name]

    _assert_opens(name, status=status, allowed=allowed, people=people, rows=rows)


@pytest.mark.parametrize("model", ROWS)
def test_the_pages_of_rows_open_for_those_who_may_see_them_and_for_nobody_else(model, people, rows):
    for name, allowed in row_pages(model).items():
        _assert_opens(name, status=200, allowed=allowed, people=people, rows=rows)


def _assert_opens(name, *, status, allowed, people, rows):
    address = _address(routes()[name], rows)
    for person, user in people.items():
        answer = _open(address, user)

        if person in allowed:
            assert answer.status_code == status, (name, person)
        elif user is None:
            assert answer.status_code == 302, name
            assert answer["Location"].split("?")[0] in {"/admin/login/", "/login/"}, name
        else:
            assert answer.status_code == 403, (name, person)


@pytest.mark.parametrize("person", ["nobody", "finance", "ops", "admin"])
def test_a_call_is_answered_for_those_who_may_make_it_and_for_nobody_else(person, people, rows):
    client = api_client(people[person])
    for name, allowed in API.items():
        address = _address(routes()[name], rows)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            answer = _call(client, method, address)

            if person == "nobody":
                assert answer.status_code == 401, (name, method)
            elif person in allowed.get(method, NONE):
                # Not 200 alone: the body is empty, which is another test's business.
                assert answer.status_code in {200, 201, 202, 204, 400, 409}, (name, method)
            else:
                assert answer.status_code in {403, 405}, (name, method)


def _call(client, method, address):
    """The answer to a call that leaves nothing behind."""
    with transaction.atomic():
        answer = client.generic(method, address, b"{}", content_type="application/json")
        transaction.set_rollback(True)
    return answer


@pytest.mark.parametrize("model", ROWS)
def test_rows_are_changed_on_their_page_by_those_who_may_and_nobody_else(model, people, rows):
    _view, _add, change, _delete = ROWS[model]
    address = _address(routes()[f"admin:{model}_change"], rows)

    for person in STAFF:
        browser = Client()
        browser.force_login(people[person])
        with transaction.atomic():
            answer = browser.post(
                address, {}
            )  # an empty form: 200 with its errors, or 302 where nothing is required
            transaction.set_rollback(True)

        assert (answer.status_code == 403) == (person not in change), (model, person)
