from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dispatch_app.execution.shrinking import Room
from dispatch_app.snapshot.budget_usage import BudgetUsage
from dispatch_app.snapshot.situation import budget_keys, killed_targets, rooms_of, situation_of
from dispatch_app.snapshot.types import ServedBudget, ServedKey, ServedKillSwitch, ServedTenant, Snapshot
from policies_app.routing.codes import BudgetAction, BudgetPeriod, BudgetScope, KillScope
from policies_app.routing.types import FleetState

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TAGS = {"project": "apollo"}
BERLIN_MIDNIGHT = datetime(2026, 11, 22, 23, tzinfo=UTC)


def budget(number: int, scope: BudgetScope = BudgetScope.TENANT, **fields: object) -> ServedBudget:
    return ServedBudget(
        **{
            "id": number,
            "name": f"budget-{number}",
            "scope": scope,
            "api_key_id": None,
            "policy_id": None,
            "end_user": "",
            "tag": None,
            "month_begins_on": 1,
            "period": BudgetPeriod.DAY,
            "limit_nanos": 1_000,
            "action": BudgetAction.REJECT,
        }
        | fields
    )


def key_with(*budgets: ServedBudget, zone: str = "Europe/Berlin") -> ServedKey:
    return ServedKey(
        id=7,
        public_id="0123456789",
        secret_hmac=b"",
        tenant=ServedTenant(id=1, name="acme", zone=ZoneInfo(zone), enabled=True, budgets=budgets),
        enabled=True,
        expires_at=None,
        policies=None,
        may_call_models=False,
        may_explain_drafts=False,
    )


def switch(scope: KillScope, *, expires_at: datetime | None = None, **names: str) -> ServedKillSwitch:
    no_names = dict.fromkeys(("provider", "model", "policy", "rule", "tenant", "api_key", "end_user"), "")
    return ServedKillSwitch(
        id=1, scope=scope, reason="r", hard=False, expires_at=expires_at, **no_names | names
    )


def snapshot_with(*switches: ServedKillSwitch) -> Snapshot:
    return Snapshot(
        epoch=1,
        loaded_at=NOW,
        keys={},
        policies={},
        drafts={},
        catalogue={},
        direct={},
        providers={},
        kill_switches=switches,
        judges={},
        quality={},
    )


@pytest.mark.parametrize(
    ("applied", "end_user", "policy_id", "subjects"),
    [
        # The tenant's own budget applies to every request.
        (budget(1), "", None, [""]),
        # For each end user separately: counted under the user, and not at all without one.
        (budget(1, BudgetScope.END_USER), "mia", None, ["mia"]),
        (budget(1, BudgetScope.END_USER), "", None, []),
        # For one end user: hers alone.
        (budget(1, BudgetScope.END_USER, end_user="mia"), "mia", None, [""]),
        (budget(1, BudgetScope.END_USER, end_user="mia"), "max", None, []),
        # Of a key and of a policy: that one alone.
        (budget(1, BudgetScope.API_KEY, api_key_id=7), "mia", None, [""]),
        (budget(1, BudgetScope.API_KEY, api_key_id=8), "mia", None, []),
        (budget(1, BudgetScope.POLICY, policy_id=3), "mia", 3, [""]),
        (budget(1, BudgetScope.POLICY, policy_id=3), "mia", 4, []),
        (budget(1, BudgetScope.POLICY, policy_id=3), "mia", None, []),
        # Of a tag: requests that bear it with that value.
        (budget(1, BudgetScope.TAG, tag=("project", "apollo")), "mia", None, [""]),
        (budget(1, BudgetScope.TAG, tag=("project", "gemini")), "mia", None, []),
        (budget(1, BudgetScope.TAG, tag=("team", "apollo")), "mia", None, []),
    ],
)
def test_a_budget_applies_to_whom_its_scope_names(applied, end_user, policy_id, subjects):
    keys = budget_keys(key=key_with(applied), end_user=end_user, tags=TAGS, policy_id=policy_id, now=NOW)

    assert [key.subject for key in keys] == subjects


def test_a_period_begins_in_the_tenants_time_zone():
    (key,) = budget_keys(key=key_with(budget(1)), end_user="", tags={}, policy_id=None, now=NOW)

    assert key.period_start == BERLIN_MIDNIGHT


def test_the_next_period_begins_on_time_though_the_last_one_is_remembered():
    key = key_with(budget(1))
    last_instant = BERLIN_MIDNIGHT + timedelta(days=1, microseconds=-1)

    starts = [
        budget_keys(key=key, end_user="", tags={}, policy_id=None, now=now)[0].period_start
        for now in (last_instant, last_instant + timedelta(microseconds=1), last_instant)
    ]

    assert starts == [BERLIN_MIDNIGHT, BERLIN_MIDNIGHT + timedelta(days=1), BERLIN_MIDNIGHT]


def test_two_budgets_whose_months_begin_on_other_days_do_not_share_their_month():
    key = key_with(*(budget(day, period=BudgetPeriod.MONTH, month_begins_on=day) for day in (1, 15)))

    keys = budget_keys(key=key, end_user="", tags={}, policy_id=None, now=NOW)

    assert [key.period_start.astimezone(ZoneInfo("Europe/Berlin")).day for key in keys] == [1, 15]


def test_two_tenants_in_two_zones_do_not_share_their_day():
    starts = {
        budget_keys(key=key_with(budget(1), zone=zone), end_user="", tags={}, policy_id=None, now=NOW)[
            0
        ].period_start
        for zone in ("Europe/Berlin", "Asia/Tokyo")
    }

    assert len(starts) == 2


def test_pressure_is_what_is_known_of_the_running_period():
    key = key_with(budget(1), budget(2, BudgetScope.END_USER))
    usage = BudgetUsage()
    usage.record((1, "", BERLIN_MIDNIGHT), 800)
    usage.record((1, "", BERLIN_MIDNIGHT - timedelta(days=1)), 999)
    usage.record((2, "mia", BERLIN_MIDNIGHT), 10)

    situation = situation_of(
        snapshot=snapshot_with(),
        budget_usage=usage,
        key=key,
        end_user="mia",
        tags={},
        policy_id=None,
        now=NOW,
    )

    assert [(pressure.budget_id, pressure.used_nanos) for pressure in situation.budgets] == [
        (1, 800),
        (2, 10),
    ]


def test_pressure_says_when_its_period_began_and_ends():
    key = key_with(budget(1), budget(2, period=BudgetPeriod.LIFETIME))

    situation = situation_of(
        snapshot=snapshot_with(), budget_usage={}, key=key, end_user="", tags={}, policy_id=None, now=NOW
    )

    day, lifetime = situation.budgets
    assert (day.period_start, day.period_end) == (BERLIN_MIDNIGHT, BERLIN_MIDNIGHT + timedelta(days=1))
    assert lifetime.period_end is None


def test_rooms_tell_what_is_left_at_the_moment_of_budgets_that_shrink_and_of_no_others():
    key = key_with(
        budget(1, shrink_to_tokens=20),
        budget(2),
        budget(3, shrink_to_tokens=5, action=BudgetAction.ALERT),
        budget(4, BudgetScope.TAG, tag=("project", "gemini"), shrink_to_tokens=5),
    )
    usage = BudgetUsage()
    rooms = rooms_of(budget_usage=usage, key=key, end_user="", tags=TAGS, policy_id=None, now=NOW)

    assert rooms() == [Room(left_nanos=1_000, least_output_tokens=20)]
    usage.record((1, "", BERLIN_MIDNIGHT), 990)
    assert rooms() == [Room(left_nanos=10, least_output_tokens=20)]


def test_the_fleet_is_taken_over_as_it_is():
    fleet = FleetState(degraded_providers=frozenset({"vendor"}))

    situation = situation_of(
        snapshot=snapshot_with(),
        budget_usage={},
        key=key_with(),
        end_user="",
        tags={},
        policy_id=None,
        now=NOW,
        fleet=fleet,
    )

    assert situation.fleet is fleet


def test_each_scope_of_kill_switch_lands_with_its_kind():
    switches = (
        switch(KillScope.MODEL, model="small"),
        switch(KillScope.PROVIDER, provider="vendor"),
        switch(KillScope.POLICY, policy="auto"),
        switch(KillScope.RULE, policy="auto", rule="code"),
        switch(KillScope.TENANT, tenant="acme"),
        switch(KillScope.API_KEY, api_key="0123456789"),
        switch(KillScope.END_USER, tenant="acme", end_user="mia"),
    )

    killed = killed_targets(switches=switches, now=NOW)

    assert not killed.everything
    assert killed.models == {"small"}
    assert killed.providers == {"vendor"}
    assert killed.policies == {"auto"}
    assert killed.rules == {("auto", "code")}
    assert killed.tenants == {"acme"}
    assert killed.api_keys == {"0123456789"}
    assert killed.end_users == {("acme", "mia")}


def test_a_switch_ends_by_itself_without_a_new_snapshot():
    switches = (
        switch(KillScope.EVERYTHING, expires_at=NOW + timedelta(minutes=1)),
        switch(KillScope.MODEL, model="small"),
    )

    assert killed_targets(switches=switches, now=NOW).everything
    after = killed_targets(switches=switches, now=NOW + timedelta(minutes=1))
    assert not after.everything
    assert after.models == {"small"}
    assert killed_targets(switches=switches, now=NOW).everything


def test_usage_of_past_periods_is_forgotten_and_the_polled_is_taken_over():
    usage = BudgetUsage()
    usage.record((1, "", BERLIN_MIDNIGHT - timedelta(days=1)), 5)
    usage.record((1, "", BERLIN_MIDNIGHT), 6)
    usage.record((2, "mia", BERLIN_MIDNIGHT), 7)

    usage.refresh(
        used_nanos={(1, "", BERLIN_MIDNIGHT): 60}, current=[(1, BERLIN_MIDNIGHT), (2, BERLIN_MIDNIGHT)]
    )

    assert usage.get((1, "", BERLIN_MIDNIGHT - timedelta(days=1)), -1) == -1
    assert usage.get((1, "", BERLIN_MIDNIGHT), -1) == 60
    assert usage.get((2, "mia", BERLIN_MIDNIGHT), -1) == 7


def test_the_latest_keys_are_those_recorded_last():
    usage = BudgetUsage()
    for number in (1, 2, 3, 1):
        usage.record((number, "", NOW), 0)

    assert [budget_id for budget_id, _, _ in usage.latest_keys(2)] == [1, 3]
