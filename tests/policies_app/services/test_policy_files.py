import pytest

from policies_app.models import AuditEntry, Policy
from policies_app.services.drafts import DraftNotReplacedError
from policies_app.services.policy_files import PolicyFileError, export_policy, import_policy
from policies_app.services.publishing import draft_document, publish_policy
from tests.factories import make_fleet, make_policy, make_published_policy, make_rule, make_tenant

pytestmark = pytest.mark.django_db

MINIMAL = """
schema_version: 1
name: imported
rules:
- name: default
  is_default: true
  route: {strategy: single, steps: [{model: small}]}
"""


@pytest.fixture
def fleet():
    return make_fleet()


def rich_policy(fleet):
    policy = make_policy("auto", models=[fleet.small, fleet.mid], baseline_model=fleet.frontier)
    make_rule(
        policy,
        "gold",
        models=[fleet.frontier],
        tenants=[make_tenant("acme")],
        tasks=["code"],
        end_users=["mia"],
        tags=["plan=gold", "note=a=b"],
        input_tokens_min=1,
        output_tokens_min=2,
        output_tokens_max=3,
        needs=["vision", "tools"],
        budget_scope="end_user",
        budget_used_pct_min=50,
        deadline_ms=5_000,
        max_attempts=1,
        allow_dearer_fallback=False,
    )
    return policy


def test_a_policy_survives_the_way_through_a_file(fleet):
    policy = rich_policy(fleet)
    before, text = draft_document(policy), export_policy(policy=policy)
    policy.rules.all().delete()

    import_policy(text=text, author_name="git")

    policy.refresh_from_db()
    assert draft_document(policy) == before
    assert export_policy(policy=policy) == text


def test_an_imported_file_is_a_draft_and_can_be_published(fleet):
    policy = import_policy(text=MINIMAL, author_name="git", reason="from git")

    assert policy.live_version is None
    assert publish_policy(policy=policy, author_name="mia").number == 1
    assert AuditEntry.objects.filter(action="imported", subject_name="imported", reason="from git").exists()


def test_an_older_version_can_be_exported(fleet):
    policy = make_published_policy("auto", models=[fleet.small])
    first = policy.live_version
    text = export_policy(policy=policy)
    make_rule(policy, "code", models=[fleet.mid], tasks=["code"])

    assert export_policy(policy=policy, version=first) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- [", "not YAML"),
        ("just text", "must be a mapping"),
        (MINIMAL.replace("single", "guess"), "strategy"),
        (MINIMAL.replace("is_default: true", "is_default: false"), "default"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("x: &a [1]\ny: *a", "aliases"),
        ("x" * 1_000_001, "longer"),
        (MINIMAL.replace("name: imported", "name: direct"), "reserved"),
        (MINIMAL.replace("name: imported", f"name: {'x' * 300}"), "at most 64"),
    ],
)
def test_a_file_that_is_no_policy_is_refused_in_words(text, words):
    with pytest.raises(PolicyFileError, match=words):
        import_policy(text=text, author_name="git")

    assert not Policy.objects.exists()


def test_a_file_that_names_an_unknown_model_or_tenant_changes_nothing(fleet):
    policy = rich_policy(fleet)
    before, text = draft_document(policy), export_policy(policy=policy)

    with pytest.raises(DraftNotReplacedError, match="model called nimbus"):
        import_policy(text=text.replace("model: small", "model: nimbus"), author_name="git")
    with pytest.raises(DraftNotReplacedError, match="tenant called apex"):
        import_policy(text=text.replace("- acme", "- apex"), author_name="git")

    assert draft_document(policy) == before


@pytest.mark.parametrize(
    ("stated", "too_much"),
    [
        ("name: default", f"name: {'x' * 300}"),
        ("strategy: single,", "strategy: single, max_attempts: 99999,"),
    ],
)
def test_a_file_that_no_row_can_hold_changes_nothing(fleet, stated, too_much):
    policy = import_policy(text=MINIMAL, author_name="git")
    before = draft_document(policy)

    with pytest.raises(DraftNotReplacedError, match="too long or too large"):
        import_policy(text=MINIMAL.replace(stated, too_much), author_name="git")

    assert draft_document(policy) == before
