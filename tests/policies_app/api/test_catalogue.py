import pytest

from policies_app.models import AuditEntry, Credential, Price, Provider
from policies_app.routing.codes import WireFormat
from policies_app.services.credentials import open_secret
from tests.factories import USD, make_model, make_provider
from tests.personas import api_client, make_admin

SECRET = "sk-live-canary-0123456789-wxyz"


def new_provider(**fields):
    return {"name": "openai", "base_url": "https://api.openai.com/v1"} | fields


def new_model(**fields):
    return {
        "name": "gpt",
        "wire_name": "gpt-5.1",
        "tier": "mid",
        "context_window_tokens": 1000,
        "max_output_tokens": 100,
    } | fields


def test_ops_add_and_change_a_provider_and_the_audit_trail_says_who(ops):
    created = ops.post("/api/v1/providers/", new_provider(), format="json")
    changed = ops.patch("/api/v1/providers/openai/", {"enabled": False}, format="json")

    assert (created.status_code, changed.status_code) == (201, 200)
    assert not Provider.objects.get(name="openai").enabled
    entries = AuditEntry.objects.filter(subject_type="provider").order_by("id")
    assert [entry.action for entry in entries] == ["created", "changed"]
    assert entries[1].after == {"enabled": False}
    assert entries[1].author_name.startswith("ops-")


def test_a_field_that_does_not_exist_is_refused_by_name(ops):
    answer = ops.post("/api/v1/providers/", new_provider(api_key="x"), format="json")

    assert answer.status_code == 400
    assert answer.json() == {"api_key": ["There is no such field."]}


def test_a_taken_name_is_refused_at_its_field(ops):
    make_provider("openai")

    answer = ops.post("/api/v1/providers/", new_provider(), format="json")

    assert (answer.status_code, list(answer.json())) == (400, ["name"])


def test_a_secret_goes_in_sealed_and_never_comes_out(ops):
    make_provider("openai")

    created = ops.post(
        "/api/v1/credentials/", {"provider": "openai", "label": "main", "secret": SECRET}, format="json"
    )
    listed = ops.get("/api/v1/credentials/")

    assert created.status_code == 201
    credential = Credential.objects.get()
    assert open_secret(credential=credential) == SECRET
    assert created.json()["last_four"] == "wxyz"
    assert SECRET not in created.content.decode() + listed.content.decode()
    assert all(SECRET not in f"{entry.before}{entry.after}" for entry in AuditEntry.objects.all())


def test_a_credential_has_a_weight_and_can_be_mended(ops):
    make_provider("openai")
    created = ops.post(
        "/api/v1/credentials/",
        {"provider": "openai", "label": "main", "secret": SECRET, "weight": 3},
        format="json",
    ).json()
    refused = ops.patch(f"/api/v1/credentials/{created['id']}/", {"weight": 0}, format="json")

    mended = ops.post(f"/api/v1/credentials/{created['id']}/mend/")

    assert created["weight"] == 3
    assert (refused.status_code, list(refused.json())) == (400, ["weight"])
    assert mended.status_code == 200
    assert Credential.objects.get().times_mended == 1


def test_changing_a_label_keeps_the_secret(ops):
    make_provider("openai")
    created = ops.post(
        "/api/v1/credentials/", {"provider": "openai", "label": "main", "secret": SECRET}, format="json"
    ).json()

    ops.patch(f"/api/v1/credentials/{created['id']}/", {"label": "spare"}, format="json")

    assert open_secret(credential=Credential.objects.get(label="spare")) == SECRET


@pytest.mark.parametrize(
    ("fields", "wrong_field"),
    [
        ({}, "secret"),  # neither a secret nor a variable
        ({"secret": "has spaces in it"}, "secret"),
        ({"secret": SECRET, "provider": "nobody"}, "provider"),
    ],
)
def test_a_wrong_credential_is_refused_at_its_field(ops, fields, wrong_field):
    make_provider("openai")

    answer = ops.post("/api/v1/credentials/", {"provider": "openai", "label": "main"} | fields, format="json")

    assert (answer.status_code, list(answer.json())) == (400, [wrong_field])
    assert not Credential.objects.exists()


@pytest.mark.parametrize(
    ("fields", "wrong_field"),
    [
        ({"max_output_tokens": 1001}, "max_output_tokens"),
        ({"tier": "huge"}, "tier"),
        ({"capabilities": ["telepathy"]}, "capabilities"),
        ({"capabilities": ["embeddings", "streaming"]}, "capabilities"),
        ({"capabilities": ["embeddings"], "provider": "anthropic"}, "capabilities"),
        ({"context_window_tokens": 0}, "context_window_tokens"),
        ({"context_window_tokens": 10**12}, "context_window_tokens"),
        ({"name": "with space"}, "name"),
        ({"name": "nul\0"}, "name"),
        ({"wire_name": ""}, "wire_name"),
    ],
)
def test_a_wrong_model_is_refused_at_its_field(ops, fields, wrong_field):
    make_provider("openai")
    make_provider("anthropic", wire_format=WireFormat.ANTHROPIC_MESSAGES)

    answer = ops.post("/api/v1/models/", new_model(provider="openai") | fields, format="json")

    assert (answer.status_code, list(answer.json())) == (400, [wrong_field])


def test_a_partial_update_is_checked_against_the_other_fields(ops):
    make_model("small", context_window_tokens=1000, max_output_tokens=100)

    answer = ops.patch("/api/v1/models/small/", {"context_window_tokens": 99}, format="json")

    assert (answer.status_code, list(answer.json())) == (400, ["max_output_tokens"])


def test_prices_are_added_and_never_changed(ops):
    model = make_model("small", input_nanos=None)
    price = {"model": "small", "effective_from": "2026-01-01T00:00:00Z"} | {
        f"{bucket}_nanos": USD for bucket in ("input", "cached_input", "cache_write", "output", "reasoning")
    }

    created = ops.post("/api/v1/prices/", price, format="json")
    again = ops.post("/api/v1/prices/", price, format="json")
    address = f"/api/v1/prices/{created.json()['id']}/"
    changed = api_client(make_admin()).patch(address, {"input_nanos": 1}, format="json")

    assert created.status_code == 201
    assert (again.status_code, list(again.json())) == (400, ["effective_from"])
    assert changed.status_code == 405
    assert Price.objects.get(model=model).input_nanos == USD


def test_finance_read_the_catalogue_and_change_nothing(finance):
    make_model("small")

    assert finance.get("/api/v1/models/small/").status_code == 200
    assert finance.patch("/api/v1/models/small/", {"enabled": False}, format="json").status_code == 403


def test_lists_are_searched_and_filtered(ops):
    make_model("alpha", tier="small")
    make_model("beta", tier="mid", provider=make_provider("two"))

    by_tier = ops.get("/api/v1/models/", {"tier": "small"}).json()
    by_name = ops.get("/api/v1/models/", {"search": "bet"}).json()
    by_provider = ops.get("/api/v1/models/", {"provider": "two"}).json()

    assert [model["name"] for model in by_tier["results"]] == ["alpha"]
    assert [model["name"] for model in by_name["results"]] == ["beta"]
    assert [model["name"] for model in by_provider["results"]] == ["beta"]


def test_quirks_are_set_over_the_api(ops):
    make_provider("openai")
    model = new_model(provider="openai")
    quirks = {
        "system_prefix": "Be brief.",
        "system_suffix": "",
        "system_role": "developer",
        "refused_parameters": ["stop", "temperature"],
        "output_limit_parameter": "max_completion_tokens",
        "reasoning_control": "effort",
        "thinks_unasked": True,
        "fixed_parameters": {"verbosity": "low"},
    }

    created = ops.post("/api/v1/models/", model | quirks, format="json")

    assert created.status_code == 201
    told = ops.get("/api/v1/models/gpt/").json()
    # The parameters always stand in the same order.
    assert {name: told[name] for name in quirks} == quirks | {"refused_parameters": ["temperature", "stop"]}


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("refused_parameters", ["max_tokens"], "is not a valid choice"),
        ("system_role", "assistant", "is not a valid choice"),
        ("fixed_parameters", ["min_p"], "Write one JSON object"),
        ("fixed_parameters", None, "may not be null"),
        ("fixed_parameters", {"stream": False}, "“stream” cannot be fixed"),
        ("fixed_parameters", {"note": "\0"}, "It has a text that cannot be stored."),
        ("system_prefix", "x" * 20_001, "no more than 20000 characters"),
    ],
)
def test_quirks_that_no_model_can_have_are_refused_at_their_field(ops, field, value, complaint):
    make_provider("openai")

    answer = ops.post("/api/v1/models/", new_model(provider="openai", **{field: value}), format="json")

    assert (answer.status_code, list(answer.json())) == (400, [field])
    assert complaint in str(answer.json())
