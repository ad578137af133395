"""`manage.py import_catalogue`."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from policies_app.models import AuditEntry, Model, Price
from policies_app.price_catalogue.lookup import SOURCE
from policies_app.services.prices import set_price
from tests.factories import make_model, make_provider

pytestmark = pytest.mark.django_db


class Terminal(StringIO):
    """Somebody at a keyboard, who types these lines."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def answers(monkeypatch):
    def sit_down(*lines: str) -> None:
        monkeypatch.setattr("sys.stdin", Terminal("".join(f"{line}\n" for line in lines)))

    monkeypatch.setattr("sys.stdin", StringIO())
    return sit_down


@pytest.fixture(autouse=True)
def nobody_is_there(answers) -> None:
    """As in a script, unless a test sits somebody down."""


@pytest.fixture
def openai():
    return make_provider("openai", base_url="https://api.openai.com/v1")


@pytest.fixture
def gpt(openai) -> Model:
    return make_model("gpt-5-mini", provider=openai, input_nanos=None)


def run(*words: str) -> str:
    output = StringIO()
    call_command("import_catalogue", *words, stdout=output)
    return output.getvalue()


def in_force(model: Model) -> Price:
    return Price.objects.filter(model=model).in_force(at=timezone.now()).get()


def test_a_dry_run_tells_what_would_change_and_changes_nothing(gpt, openai):
    own = make_model("my-own", provider=openai, input_nanos=None)

    told = run("--dry-run").splitlines()

    assert told[0].split() == ["model", "price", "input", "cached", "cache", "write", "output", "reasoning"]
    assert told[1].split() == ["gpt-5-mini", "none", "yet"]
    assert told[2].split() == ["openai/gpt-5-mini", "0.25", "0.025", "0.25", "2.00", "2.00"]
    assert f"{own} stays without a price: The catalogue knows no my-own of OpenAI." in told
    assert not Price.objects.exists()


def test_a_script_says_yes(gpt):
    assert "Added 1 price." in run("--yes", "--reason", "list of November")

    assert in_force(gpt).source == SOURCE
    assert AuditEntry.objects.get(subject_type="price").reason == "list of November"
    assert "As the catalogue says already: gpt-5-mini.\nNothing to change." in run("--yes")


def test_without_a_yes_a_script_changes_nothing(gpt):
    with pytest.raises(CommandError, match="Say --yes"):
        run()

    assert not Price.objects.exists()


def test_somebody_at_a_terminal_is_asked(gpt, answers):
    answers("n")
    with pytest.raises(CommandError, match="Nothing was changed"):
        run()
    assert not Price.objects.exists()

    answers("y")
    run()
    assert in_force(gpt).source == SOURCE


def test_a_price_made_by_hand_is_kept_by_a_script_and_asked_about_at_a_terminal(gpt, answers):
    own = set_price(model=gpt, input_nanos=1, output_nanos=2, author_name="mia")

    told = run("--yes")
    assert "by hand" in told
    assert "gpt-5-mini keeps its price, made by hand; --replace-hand-made replaces it." in told
    answers("n")
    assert "Nothing to change." in run()
    assert in_force(gpt) == own

    answers("y", "y")
    run()
    assert in_force(gpt).source == SOURCE


def test_a_price_made_by_hand_is_replaced_where_that_is_said(gpt):
    set_price(model=gpt, input_nanos=1, output_nanos=2, author_name="mia")

    run("--yes", "--replace-hand-made")

    assert in_force(gpt).source == SOURCE


def test_models_and_providers_narrow_it_down(gpt, openai):
    make_model("gpt-5", provider=openai, input_nanos=None)
    make_model("claude", provider=make_provider("other"), input_nanos=None)

    assert "gpt-5-mini" not in run("gpt-5", "--dry-run")
    assert "claude" not in run("--provider", "openai", "--dry-run")
    with pytest.raises(CommandError, match="no model called gpt-6-nano"):
        run("gpt-6-nano", "--dry-run")
    with pytest.raises(CommandError, match="no provider called azure"):
        run("--provider", "azure", "--dry-run")


def test_a_vendor_behind_an_address_of_one_s_own_is_named():
    proxy = make_provider("proxy", base_url="https://llm.example.com/v1")
    model = make_model("gpt", provider=proxy, wire_name="gpt-5-mini", input_nanos=None)

    assert "knows no vendor at llm.example.com" in run("--dry-run")
    run("--provider", "proxy", "--vendor", "openai", "--yes")

    assert in_force(model).note.startswith("As openai/gpt-5-mini.")
    with pytest.raises(CommandError, match="knows no vendor nobody, but anthropic"):
        run("--provider", "proxy", "--vendor", "nobody", "--dry-run")
    with pytest.raises(CommandError, match="say which provider"):
        run("--vendor", "openai", "--dry-run")


def test_a_price_may_count_from_a_day_on(gpt):
    run("--yes", "--from", "2031-02-03")

    assert f"{gpt.prices.get().effective_from:%Y-%m-%d %H:%M %Z}" == "2031-02-03 00:00 UTC"
    with pytest.raises(CommandError, match="no day such as"):
        run("--yes", "--from", "2031-02-30")


def test_new_models_come_with_what_the_catalogue_knows(openai):
    told = run(
        "--provider", "openai", "--add", "gpt-5-mini", "gpt-5.1", "--tier", "small", "--max-output-tokens", "16000",
        "--capability", "tools", "--capability", "streaming", "--yes",
    )  # fmt: skip

    assert "Added 2 models and 2 prices." in told
    model = Model.objects.get(name="gpt-5-1")
    assert (model.provider, model.wire_name, model.tier) == (openai, "gpt-5.1", "small")
    assert (model.context_window_tokens, model.max_output_tokens) == (400_000, 16_000)
    assert model.capabilities == ["tools", "streaming"]
    assert in_force(model).source == SOURCE
    assert AuditEntry.objects.filter(subject_type="model").count() == 2


def test_what_the_catalogue_does_not_know_of_a_new_model_has_to_be_given(openai, answers):
    with pytest.raises(CommandError, match="give --max-output-tokens"):
        run("--provider", "openai", "--add", "gpt-5-mini", "--tier", "small", "--yes")
    assert not Model.objects.exists()

    answers("mid", "8000", "tools, streaming", "y")
    run("--provider", "openai", "--add", "gpt-5-mini")
    model = Model.objects.get()
    assert (model.tier, model.max_output_tokens) == ("mid", 8000)
    assert model.capabilities == ["tools", "streaming"]


def test_a_dry_run_tells_what_a_new_model_still_lacks(openai):
    told = run("--provider", "openai", "--add", "gpt-5-mini", "--dry-run")

    assert (
        "New model gpt-5-mini (openai/gpt-5-mini): tier to be given, context window 400000, output to be given,"
        " capabilities none: requests that need any never go there."
    ) in told
    assert not Model.objects.exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--add", "gpt-5-mini"], "say which provider has them"),
        (["--provider", "openai", "--add", "gpt-from-the-future"], "knows no gpt-from-the-future of OpenAI"),
        (
            ["--provider", "openai", "--add", "gpt-5-mini", "--max-output-tokens", "900000"],
            "The output limit cannot exceed the context window.",
        ),
        (
            ["--provider", "openai", "--add", "gpt-5-mini", "--context-window", "-5"],
            "greater than or equal to 1",
        ),
    ],
)
def test_a_model_that_cannot_be_is_not_added(openai, words, complaint):
    with pytest.raises(CommandError, match=complaint):
        run(
            *words,
            *(() if "--max-output-tokens" in words else ("--max-output-tokens", "10")),
            "--tier",
            "mid",
            "--yes",
        )

    assert not Model.objects.exists()
    assert not Price.objects.exists()


def test_a_model_that_is_there_already_is_priced_as_it_is(gpt):
    run(
        "--provider",
        "openai",
        "--add",
        "gpt-5-mini",
        "--tier",
        "frontier",
        "--max-output-tokens",
        "10",
        "--yes",
    )

    assert Model.objects.get() == gpt
    assert Model.objects.get().tier != "frontier"
    assert in_force(gpt).source == SOURCE
