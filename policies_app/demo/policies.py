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
PLAIN_POLICIES = {
    "support-bot": "Short answers to customers; a better model for those on the gold plan.",
    "thrifty": "The smallest model that is sure of its answer: a cascade.",
    "best-answer": "Two models at once, and the answer that is surer of itself: parallel.",
    "quick": "A second model is asked where the first is slow to begin: hedged.",
    "embed": "Vectors of texts, for search.",
}
"""Policies that are published once, as their files say, with what each is for."""


def seed_policies() -> None:
    """Create and publish the policies that are missing; those that exist are left as their editors left them."""
    if not Policy.objects.filter(name="auto").exists():
        _seed_auto()
    for name, description in PLAIN_POLICIES.items():
        if not Policy.objects.filter(name=name).exists():
            policy = Policy.objects.create(name=name, description=description)
            _publish(policy, _read(name), "First version.")


def _seed_auto() -> None:
    """Publish two versions, so that there is a difference to look at and a version to roll back to."""
    document = _read("auto")
    first = replace(document, rules=tuple(rule for rule in document.rules if rule.name != ADDED_LATER))
    policy = Policy.objects.create(name="auto", description="A fitting model for anything, by task and size.")
    _publish(policy, first, "Small models for support, the frontier for code and reasoning.")
    _publish(policy, document, "Smaller models once 80 % of the tenant's budget is used.")


def _publish(policy: Policy, document: PolicyDocument, note: str) -> None:
    replace_draft(policy=policy, document=document)
    publish_policy(policy=policy, author_name=AUTHOR, note=note)


def _read(name: str) -> PolicyDocument:
    return read_policy_file((FOLDER / f"{name}.yaml").read_text())
