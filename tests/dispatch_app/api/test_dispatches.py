from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from dispatch_app.models import Attempt, Dispatch
from policies_app.models import Tenant
from tests.factories import Fleet, make_fleet, make_key, make_tenant
from tests.personas import api_client, make_finance, make_ops

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet() -> Fleet:
    return make_fleet()


@pytest.fixture
def acme() -> Tenant:
    return make_tenant("acme")


def log(tenant: Tenant, *, minutes_ago: int = 0, **fields) -> Dispatch:
    key = tenant.api_keys.first() or make_key(tenant).row
    return Dispatch.objects.create(
        **{
            "id": uuid4(),
            "created_at": timezone.now() - timedelta(minutes=minutes_ago),
            "tenant": tenant,
            "api_key": key,
            "end_user": "",
            "task": "chat",
            "tags": {},
            "requested_model": "auto",
            "policy_version": 0,
            "rule": "default",
            "strategy": "failover",
            "reason": {"words": "because"},
            "stream": False,
            "has_idempotency_key": False,
            "status": "succeeded",
            "error_code": "",
            "attempts": 1,
            "input_tokens": 10,
            "cached_input_tokens": 0,
            "cache_write_tokens": 0,
            "output_tokens": 5,
            "reasoning_tokens": 0,
            "cost_nanos": 1234,
            "estimated": False,
        }
        | fields
    )


def log_attempt(dispatch: Dispatch, fleet: Fleet, *, position: int) -> Attempt:
    return Attempt.objects.create(
        id=uuid4(),
        created_at=dispatch.created_at,
        dispatch_id=dispatch.id,
        dispatch_created_at=dispatch.created_at,
        tenant=dispatch.tenant,
        position=position,
        role="primary" if position == 1 else "fallback",
        model=fleet.small,
        provider=fleet.provider,
        price=fleet.small.prices.get(),
        reserved_nanos=9999,
        balance_ids=[],
        expires_at=dispatch.created_at,
        state="settled",
        fault="",
        response_model="small",
        input_tokens=10,
        cached_input_tokens=0,
        cache_write_tokens=0,
        output_tokens=5,
        reasoning_tokens=0,
        cost_nanos=1234,
        estimated=False,
        cold=False,
        start_offset_ms=0,
    )


def ids(answer) -> list[UUID]:
    return [UUID(row["id"]) for row in answer.json()["results"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["new", "old", "other"]),
        ({"tenant": "acme"}, ["new", "old"]),
        ({"tenant": "nobody"}, []),
        ({"model": "small"}, ["new"]),
        ({"status": "refused"}, ["other"]),
        ({"task": "translate"}, ["old"]),
        ({"rule": "default"}, ["new", "old", "other"]),
    ],
)
def test_the_log_is_filtered(acme, fleet, query, expected):
    rows = {
        "new": log(acme, minutes_ago=1, model=fleet.small),
        "old": log(acme, minutes_ago=2, task="translate"),
        "other": log(make_tenant("beta"), minutes_ago=3, status="refused"),
    }

    answer = api_client(make_ops()).get("/api/v1/dispatches/", query)

    assert ids(answer) == [rows[name].id for name in expected]


def test_a_time_range_includes_its_beginning_and_not_its_end(acme):
    moments = [timezone.now() - timedelta(minutes=minutes) for minutes in (3, 2, 1)]
    rows = [log(acme, created_at=moment) for moment in moments]

    answer = api_client(make_ops()).get(
        "/api/v1/dispatches/",
        {"created_after": moments[0].isoformat(), "created_before": moments[2].isoformat()},
    )

    assert ids(answer) == [rows[1].id, rows[0].id]


@pytest.mark.parametrize("query", [{"status": "fine"}, {"created_after": "yesterday"}])
def test_a_filter_that_means_nothing_is_refused_by_name(query):
    answer = api_client(make_ops()).get("/api/v1/dispatches/", query)

    assert (answer.status_code, list(answer.json())) == (400, list(query))


def test_the_log_is_read_page_by_page_without_loss_or_repetition(acme):
    same_instant = datetime.now(UTC)
    rows = {log(acme, created_at=same_instant).id for _ in range(5)}
    client = api_client(make_ops())

    seen, address = [], "/api/v1/dispatches/?page_size=2"
    while address:
        answer = client.get(address)
        seen += ids(answer)
        address = answer.json()["next"]

    assert len(seen) == 5
    assert set(seen) == rows


def test_a_dispatch_comes_with_its_attempts_in_order(acme, fleet):
    dispatch = log(acme, attempts=2)
    for position in (2, 1):
        log_attempt(dispatch, fleet, position=position)

    answer = api_client(make_finance()).get(f"/api/v1/dispatches/{dispatch.id}/")

    assert [attempt["position"] for attempt in answer.json()["attempt_log"]] == [1, 2]
    assert answer.json()["reason"] == {"words": "because"}


def test_finance_see_what_it_cost_and_ops_do_not(acme, fleet):
    dispatch = log(acme)
    log_attempt(dispatch, fleet, position=1)

    for_finance = api_client(make_finance()).get(f"/api/v1/dispatches/{dispatch.id}/")
    for_ops = api_client(make_ops()).get(f"/api/v1/dispatches/{dispatch.id}/")

    assert for_finance.json()["cost_nanos"] == 1234
    assert for_finance.json()["attempt_log"][0]["reserved_nanos"] == 9999
    assert "nanos" not in for_ops.content.decode()


def test_the_log_is_read_only(acme):
    client = api_client(make_finance())
    address = f"/api/v1/dispatches/{log(acme).id}/"

    assert client.delete(address).status_code == 403
    assert client.patch(address, {"cost_nanos": 0}, format="json").status_code == 403


@pytest.mark.parametrize("wrong_id", ["0", "no-uuid", "00000000-0000-0000-0000-000000000000"])
def test_a_dispatch_that_there_is_not_is_not_found(wrong_id):
    assert api_client(make_ops()).get(f"/api/v1/dispatches/{wrong_id}/").status_code == 404


def test_a_page_of_the_log_takes_a_fixed_number_of_queries(acme, django_assert_max_num_queries):
    client = api_client(make_finance())
    for _ in range(20):
        log(acme)

    with django_assert_max_num_queries(6):
        client.get("/api/v1/dispatches/")
