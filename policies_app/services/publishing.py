"""Publishing: a draft becomes an immutable version, and a version becomes what clients are served."""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from policies_app.models import AuditAction, Policy, PolicyVersion
from policies_app.routing.codes import Severity
from policies_app.routing.document import (
    SCHEMA_VERSION,
    DocumentError,
    PolicyDocument,
    content_hash,
    dump,
    load,
)
from policies_app.routing.findings import Finding
from policies_app.routing.verify import verify
from policies_app.services.audit import record_action
from policies_app.services.catalogue import read_catalogue
from policies_app.services.document_diff import DocumentChange, diff_documents
from policies_app.services.drafts import draft_document
from policies_app.services.errors import ServiceError
from policies_app.services.judges import read_judges

__all__ = [
    "DocumentChange",
    "DraftNotReadableError",
    "Finding",
    "NothingToPublishError",
    "PolicyNotPublishableError",
    "VersionOfAnotherPolicyError",
    "diff_documents",
    "draft_document",
    "find_problems",
    "live_document",
    "publish_policy",
    "roll_back_policy",
]


class PolicyNotPublishableError(ServiceError):
    """The policy does not verify. `findings` are the errors, each naming its rule."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(" ".join(finding.message for finding in findings))
        self.findings = tuple(findings)


class DraftNotReadableError(ServiceError):
    """A rule of the draft states what no document can."""


class NothingToPublishError(ServiceError):
    """What was to be published is live already."""


class VersionOfAnotherPolicyError(ServiceError):
    """A policy was to be rolled back to a version that is not its own."""


def find_problems(document: PolicyDocument) -> tuple[Finding, ...]:
    """Return all that is wrong with `document` against the catalogue and the judges of now, errors first."""
    return verify(document=document, catalogue=read_catalogue(), judges=read_judges(), now=timezone.now())


def live_document(policy: Policy) -> PolicyDocument | None:
    """Return the document that clients are served, or None if nothing was published."""
    return load(policy.live_version.document) if policy.live_version else None


@transaction.atomic
def publish_policy(*, policy: Policy, author_name: str, note: str = "") -> PolicyVersion:
    """Make the draft the live version, on every process within 250 ms.

    :raises DraftNotReadableError: if a rule states what no document can, such as a tag without a value.
    :raises PolicyNotPublishableError: if the draft does not verify.
    :raises NothingToPublishError: if the draft says what the live version says.
    """
    locked = _lock(policy)
    try:
        document = draft_document(locked)
    except DocumentError as error:
        raise DraftNotReadableError(f"The draft of {policy} cannot be read: {error}.") from error
    version = _publish(policy=locked, document=document, author_name=author_name, note=note)
    _record(AuditAction.PUBLISHED, locked, version)
    return _adopt(policy, version)


@transaction.atomic
def roll_back_policy(*, policy: Policy, to: PolicyVersion, author_name: str, note: str = "") -> PolicyVersion:
    """Publish the document of `to` again, under a new number. The draft stays as it is.

    :raises VersionOfAnotherPolicyError: if `to` is a version of another policy.
    :raises PolicyNotPublishableError: if the old document does not verify against the catalogue of now.
    :raises NothingToPublishError: if the live version says the same.
    """
    if to.policy_id != policy.pk:
        raise VersionOfAnotherPolicyError(f"{to} is no version of {policy}.")
    locked = _lock(policy)
    version = _publish(
        policy=locked,
        document=load(to.document),
        author_name=author_name,
        note=note or f"Rolled back to version {to.number}.",
        rolled_back_to=to,
    )
    _record(AuditAction.ROLLED_BACK, locked, version)
    return _adopt(policy, version)


def _lock(policy: Policy) -> Policy:
    """Read the policy so that no other publishes it until this transaction ends; numbers then have no gaps or twins."""
    Policy.objects.select_for_update().only("pk").get(pk=policy.pk)
    return Policy.objects.select_related("live_version", "baseline_model").get(pk=policy.pk)


def _publish(
    *,
    policy: Policy,
    document: PolicyDocument,
    author_name: str,
    note: str,
    rolled_back_to: PolicyVersion | None = None,
) -> PolicyVersion:
    errors = [finding for finding in find_problems(document) if finding.severity is Severity.ERROR]
    if errors:
        raise PolicyNotPublishableError(errors)
    digest = content_hash(document)
    if policy.live_version and policy.live_version.content_hash == digest:
        raise NothingToPublishError(
            f"Version {policy.live_version.number} of {policy} says the same already."
        )
    version = PolicyVersion.objects.create(
        policy=policy,
        number=(policy.versions.aggregate(last=Max("number"))["last"] or 0) + 1,
        document=dump(document),
        content_hash=digest,
        schema_version=SCHEMA_VERSION,
        note=note,
        author_name=author_name,
        rolled_back_to=rolled_back_to,
    )
    Policy.objects.filter(pk=policy.pk).update(live_version=version)
    return version


def _record(action: AuditAction, policy: Policy, version: PolicyVersion) -> None:
    before = policy.live_version
    record_action(
        action=action,
        subject=policy,
        author_name=version.author_name,
        before={"version": before.number, "content_hash": before.content_hash} if before else None,
        after={"version": version.number, "content_hash": version.content_hash},
        reason=version.note,
    )


def _adopt(policy: Policy, version: PolicyVersion) -> PolicyVersion:
    """Let the caller's row say what the database says."""
    policy.live_version = version
    return version
