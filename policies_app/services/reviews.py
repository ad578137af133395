"""What somebody should see before a policy is published: what is wrong, what changes, what it can cost at worst."""

from dataclasses import dataclass

from django.utils import timezone

from policies_app.models import Policy, PolicyVersion
from policies_app.routing.codes import Severity
from policies_app.routing.document import DocumentError, PolicyDocument, load
from policies_app.routing.findings import Finding
from policies_app.routing.verify import verify
from policies_app.routing.worst_case import RouteWorstCase, worst_case
from policies_app.services.catalogue import read_catalogue
from policies_app.services.document_diff import DocumentChange, diff_documents
from policies_app.services.drafts import draft_document
from policies_app.services.errors import ServiceError
from policies_app.services.judges import read_judges
from policies_app.services.publishing import live_document


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A document beside the live version, and against the catalogue of now."""

    document: PolicyDocument
    changes: tuple[DocumentChange, ...]
    findings: tuple[Finding, ...]
    worst_cases: tuple[RouteWorstCase, ...]

    @property
    def is_publishable(self) -> bool:
        """Whether it says something new, and nothing is wrong with it that forbids publishing."""
        return bool(self.changes) and not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What forbids publishing."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)


def review_draft(policy: Policy) -> Review:
    """Look at the draft as publishing would.

    :raises ServiceError: if a rule states what no document can, naming the rule.
    """
    try:
        document = draft_document(policy)
    except DocumentError as error:
        raise ServiceError(f"The draft of {policy} is no document: {error}.") from error
    return _review(policy, document)


def review_version(version: PolicyVersion) -> Review:
    """Look at an old version as rolling back to it would."""
    return _review(version.policy, load(version.document))


def _review(policy: Policy, document: PolicyDocument) -> Review:
    catalogue, judges, now = read_catalogue(), read_judges(), timezone.now()
    return Review(
        document=document,
        changes=diff_documents(live_document(policy), document),
        findings=verify(document=document, catalogue=catalogue, judges=judges, now=now),
        worst_cases=tuple(
            worst_case(rule=rule, catalogue=catalogue, judges=judges, now=now) for rule in document.rules
        ),
    )
