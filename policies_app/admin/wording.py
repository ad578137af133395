"""Rules and drafts in a few words, for tables."""

from policies_app.models import Policy, Rule
from policies_app.routing.document import DocumentError, content_hash
from policies_app.services.document_diff import conditions_in_words, route_in_words
from policies_app.services.drafts import draft_document, rule_document


def conditions_of(rule: Rule) -> str:
    """When the rule takes a request."""
    try:
        return conditions_in_words(rule_document(rule))
    except DocumentError as error:
        return str(error)


def route_of(rule: Rule) -> str:
    """What the rule calls, in which order."""
    try:
        return route_in_words(rule_document(rule).route)
    except DocumentError as error:
        return str(error)


def draft_state(policy: Policy) -> tuple[str, str]:
    """How the draft stands to what is live, as a code and in words."""
    try:
        digest = content_hash(draft_document(policy))
    except DocumentError:
        return "broken", "contradicts itself"
    live = policy.live_version
    if live is None:
        return "new", "never published"
    if live.content_hash == digest:
        return "same", f"as v{live.number}"
    return "differs", f"differs from v{live.number}"
