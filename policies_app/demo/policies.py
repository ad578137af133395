"""The demo's policies, published from the YAML files beside this module."""

from dataclasses import replace
from pathlib import Path

from policies_app.demo.fleet import AUTHOR
from policies_app.models import Policy
from policies_app.routing.document import PolicyDocument
from policies_app.services.drafts import replace_draft
from policies_app.services.policy_files import read_policy_file
from policies_app.services.publishing import publish_policy

FOLDER = Path(__file__).parent
ADDED_LATER = "budget-pressure"


def seed_policies() -> None:
    """Create and publish the policies that are missing; those that exist are left as their editors left them."""
    if not Policy.objects.filter(name="auto").exists():
        _seed_auto()
    if not Policy.objects.filter(name="support-bot").exists():
        _seed_support_bot()


def _seed_auto() -> None:
    """Publish two versions, so that there is a difference to look at and a version to roll back to."""
    document = _read("auto")
    first = replace(document, rules=tuple(rule for rule in document.rules if rule.name != ADDED_LATER))
    policy = Policy.objects.create(name="auto", description="A fitting model for anything, by task and size.")
    _publish(policy, first, "Small models for support, the frontier for code and reasoning.")
    _publish(policy, document, "Smaller models once 80 % of the tenant's budget is used.")


def _seed_support_bot() -> None:
    policy = Policy.objects.create(
        name="support-bot",
        description="Short answers to customers; a better model for those on the gold plan.",
    )
    _publish(policy, _read("support-bot"), "First version.")


def _publish(policy: Policy, document: PolicyDocument, note: str) -> None:
    replace_draft(policy=policy, document=document)
    publish_policy(policy=policy, author_name=AUTHOR, note=note)


def _read(name: str) -> PolicyDocument:
    return read_policy_file((FOLDER / f"{name}.yaml").read_text())
