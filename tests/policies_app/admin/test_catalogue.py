import pytest

from policies_app.models import ApiKey, AuditEntry, Budget, Credential, Price
from policies_app.services.credentials import open_secret
from tests.factories import USD, make_budget, make_key, make_model, make_policy, make_provider, make_tenant

SECRET = "sk-live-canary-0123456789-wxyz"


def provider_form(provider, **fields):
    form = {
        "name": provider.name,
        "wire_format": provider.wire_format,
        "base_url": provider.base_url,
        "allow_private_network": "on",
        "enabled": "on",
        "connect_timeout_ms": 2000,
        "first_byte_timeout_ms": 30000,
        "idle_timeout_ms": 30000,
        "credentials-TOTAL_FORMS": 1,
        "credentials-INITIAL_FORMS": 0,
        "credentials-0-label": "main",
        "credentials-0-weight": 1,
        "credentials-0-enabled": "on",
        "credentials-0-provider": provider.pk,
    }
    return form | {name.replace("__", "-"): value for name, value in fields.items()}


def save_provider(client, provider, **fields):
    return client.post(
        f"/admin/policies_app/provider/{provider.pk}/change/", provider_form(provider, **fields)
    )


def save_model(client, model, **fields):
    form = {
        "name": model.name,
        "provider": model.provider_id,
        "wire_name": model.wire_name,
        "tier": "mid",
        "context_window_tokens": 1000,
        "max_output_tokens": 100,
        "image_tokens_bound": 0,
        "cold_penalty_ms": 0,
        "system_role": "as_sent",
        "output_limit_parameter": "automatic",
        "reasoning_control": "as_sent",
        "prices-TOTAL_FORMS": 0,
        "prices-INITIAL_FORMS": 0,
    }
    return client.post(f"/admin/policies_app/model/{model.pk}/change/", form | fields)


def test_a_secret_is_sealed_and_only_its_end_is_ever_shown(ops):
    provider = make_provider("openai")

    answer = save_provider(ops, provider, credentials__0__secret=SECRET)

    assert answer.status_code == 302
    assert open_secret(credential=Credential.objects.get()) == SECRET
    shown = ops.get(f"/admin/policies_app/provider/{provider.pk}/change/").content.decode()
    assert "…wxyz" in shown
    assert SECRET not in shown
    history = ops.get(f"/admin/policies_app/provider/{provider.pk}/history/").content.decode()
    assert SECRET not in history + str([entry.after for entry in AuditEntry.objects.all()])


def test_an_empty_secret_keeps_the_one_that_there_is(ops):
    provider = make_provider("openai")
    save_provider(ops, provider, credentials__0__secret=SECRET)
    credential = Credential.objects.get()

    save_provider(
        ops,
        provider,
        credentials__INITIAL_FORMS=1,
        credentials__0__id=credential.pk,
        credentials__0__label="renamed",
    )

    assert open_secret(credential=Credential.objects.get(label="renamed")) == SECRET


def test_every_edit_of_a_credential_is_in_the_audit_trail(ops):
    provider = make_provider("openai")
    save_provider(ops, provider, credentials__0__secret=SECRET)
    credential = Credential.objects.get()
    there = {"credentials__INITIAL_FORMS": 1, "credentials__0__id": credential.pk}

    save_provider(ops, provider, **there, credentials__0__weight=5)
    save_provider(ops, provider, **there, credentials__0__weight=5, credentials__0__DELETE="on")

    entries = AuditEntry.objects.filter(subject_type="credential").order_by("id")
    assert [entry.action for entry in entries] == ["created", "secret_set", "changed", "deleted"]
    assert (entries[2].before, entries[2].after) == ({"weight": 1}, {"weight": 5})


def test_a_weight_is_at_least_one(ops):
    answer = save_provider(
        ops, make_provider("openai"), credentials__0__secret=SECRET, credentials__0__weight=0
    )

    assert "greater than or equal to 1" in answer.content.decode()
    assert not Credential.objects.exists()


@pytest.mark.parametrize(("value", "shown"), [(None, "variable not set"), ("sk-from-outside-7788", "…7788")])
def test_the_page_says_whether_a_variable_is_set_and_how_it_ends(ops, monkeypatch, value, shown):
    provider = make_provider("openai")
    Credential.objects.create(provider=provider, label="outside", environment_variable="VENDOR_KEY")
    if value is not None:
        monkeypatch.setenv("VENDOR_KEY", value)

    page = ops.get(f"/admin/policies_app/provider/{provider.pk}/change/").content.decode()

    assert shown in page
    assert "sk-from-outside" not in page


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "Give the secret, or the environment variable that holds it."),
        (
            {"credentials__0__secret": "two words"},
            "It holds spaces or characters that no HTTP header can carry.",
        ),
    ],
)
def test_a_credential_that_cannot_be_used_is_refused(ops, fields, complaint):
    answer = save_provider(ops, make_provider("openai"), **fields)

    assert complaint in answer.content.decode()
    assert not Credential.objects.exists()


def test_prices_are_entered_in_usd_per_million_tokens(ops):
    model = make_model("small", input_nanos=None)
    form = {"model": model.pk, "effective_from_0": "2026-01-01", "effective_from_1": "00:00:00"} | {
        "input_nanos": "0.15",
        "cached_input_nanos": "0.075",
        "cache_write_nanos": "0.15",
        "output_nanos": "0.6",
        "reasoning_nanos": "0.6",
    }

    answer = ops.post("/admin/policies_app/price/add/", form)

    assert answer.status_code == 302
    price = Price.objects.get(model=model)
    assert (price.input_nanos, price.cached_input_nanos, price.output_nanos) == (
        150_000_000,
        75_000_000,
        600_000_000,
    )
    assert AuditEntry.objects.filter(subject_type="price", action="created").exists()


def test_a_price_is_never_edited_not_even_by_a_superuser(admin):
    price = make_model("small").prices.get()

    answer = admin.post(f"/admin/policies_app/price/{price.pk}/change/", {"input_nanos": "0"})

    assert answer.status_code == 403
    assert Price.objects.get().input_nanos == price.input_nanos


def test_a_model_whose_output_exceeds_its_context_is_refused_at_that_field(ops, errors_of):
    errors = errors_of(save_model(ops, make_model("small"), context_window_tokens=100, max_output_tokens=101))

    assert list(errors) == ["max_output_tokens"]


def test_quirks_are_entered_on_the_models_page(ops):
    model = make_model("small")

    answer = save_model(
        ops,
        model,
        system_prefix="Be brief.",
        refused_parameters=["temperature", "sampling_while_reasoning"],
        output_limit_parameter="max_completion_tokens",
        fixed_parameters='{"chat_template_kwargs": {"enable_thinking": false}}',
    )

    assert answer.status_code == 302
    model.refresh_from_db()
    assert (model.system_prefix, model.system_role) == ("Be brief.", "as_sent")
    assert model.refused_parameters == ["temperature", "sampling_while_reasoning"]
    assert model.output_limit_parameter == "max_completion_tokens"
    assert model.fixed_parameters == {"chat_template_kwargs": {"enable_thinking": False}}
    entry = AuditEntry.objects.get(subject_type="model", action="changed")
    assert entry.after["system_prefix"] == "Be brief."


def test_the_part_of_the_page_with_quirks_is_folded_away_where_there_are_none(ops):
    plain, odd = make_model(), make_model(refused_parameters=["stop"])

    def page(model):
        return ops.get(f"/admin/policies_app/model/{model.pk}/change/").content.decode()

    assert "<details><summary>" in page(plain)
    assert "<details><summary>" not in page(odd)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("{temperature: 1}", "This is no JSON. Names and texts stand in double quotes."),
        ("[1]", "Write one JSON object"),
        ('{"generationConfig": {"maxOutputTokens": 5}}', "“maxOutputTokens” cannot be fixed"),
    ],
)
def test_parameters_that_cannot_be_fixed_are_refused_in_words(ops, errors_of, written, complaint):
    errors = errors_of(save_model(ops, make_model("small"), fixed_parameters=written))

    assert list(errors) == ["fixed_parameters"]
    assert complaint in errors["fixed_parameters"][0]


def test_an_empty_field_fixes_no_parameters(ops):
    model = make_model("small", fixed_parameters={"min_p": 0.1})

    assert save_model(ops, model, fixed_parameters="").status_code == 302
    model.refresh_from_db()
    assert model.fixed_parameters == {}


def test_a_new_key_is_shown_once(ops):
    tenant = make_tenant("acme")

    answer = ops.post("/admin/policies_app/apikey/add/", {"tenant": tenant.pk, "label": "web"})

    key = ApiKey.objects.get()
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert f"sbx_{key.public_id}" in page
    later = ops.get(f"/admin/policies_app/apikey/{key.pk}/change/").content.decode()
    assert f"sbx_{key.public_id}" not in later


def test_a_key_cannot_use_the_policy_of_another_tenant(ops, errors_of):
    tenant = make_tenant("acme")
    policy = make_policy("of-beta", tenant=make_tenant("beta"))

    answer = ops.post(
        "/admin/policies_app/apikey/add/", {"tenant": tenant.pk, "label": "web", "policies": [policy.pk]}
    )

    assert list(errors_of(answer)) == ["policies"]
    assert not ApiKey.objects.exists()


def test_a_key_is_rotated_after_a_question(ops):
    key = make_key(make_tenant("acme")).row
    address = f"/admin/policies_app/apikey/{key.pk}/rotate/"

    ops.get(address)
    assert ApiKey.objects.get().public_id == key.public_id

    answer = ops.post(address)
    assert ApiKey.objects.get().public_id != key.public_id
    assert f"sbx_{ApiKey.objects.get().public_id}" in answer.content.decode()


def budget_form(tenant, **fields):
    return {
        "tenant": tenant.pk,
        "name": "monthly",
        "enabled": "on",
        "scope": "tenant",
        "limit_nanos": "250",
        "period": "month",
        "action": "reject",
        "mid_from_pct": "",
        "month_begins_on": "1",
        "small_from_pct": 80,
    } | fields


def test_a_budget_is_entered_and_shown_in_usd(finance):
    tenant = make_tenant("acme")

    finance.post("/admin/policies_app/budget/add/", budget_form(tenant, limit_nanos="0.05"))

    assert Budget.objects.get().limit_nanos == 50_000_000
    assert "$0.05" in finance.get("/admin/policies_app/budget/").content.decode()


def test_a_changed_limit_stands_in_the_audit_trail(finance):
    budget = make_budget(make_tenant("acme"), name="monthly", limit_nanos=250 * USD)

    finance.post(
        f"/admin/policies_app/budget/{budget.pk}/change/", budget_form(budget.tenant, limit_nanos="300")
    )

    entry = AuditEntry.objects.get(subject_type="budget")
    assert (entry.before, entry.after) == ({"limit_nanos": 250 * USD}, {"limit_nanos": 300 * USD})


@pytest.mark.parametrize(
    ("fields", "wrong_field"),
    [
        ({"scope": "api_key"}, "api_key"),
        ({"scope": "policy"}, "policy"),
        ({"end_user": "ann"}, "end_user"),
        ({"limit_nanos": "-1"}, "limit_nanos"),
        ({"limit_nanos": "lots"}, "limit_nanos"),
        ({"small_from_pct": 101}, "small_from_pct"),
        ({"mid_from_pct": 80}, "mid_from_pct"),
        ({"action": "downgrade", "small_from_pct": ""}, "small_from_pct"),
    ],
)
def test_a_wrong_budget_is_refused_at_its_field(finance, errors_of, fields, wrong_field):
    answer = finance.post("/admin/policies_app/budget/add/", budget_form(make_tenant("acme"), **fields))

    assert list(errors_of(answer)) == [wrong_field]
