"""Policies as YAML files, to be kept in git and reviewed there."""

from typing import Any

import yaml
from django.core.exceptions import ValidationError
from django.db import transaction

from policies_app.models import AuditAction, Policy, PolicyVersion
from policies_app.routing.document import DocumentError, PolicyDocument, dump, load
from policies_app.services.audit import record_action
from policies_app.services.drafts import draft_document, replace_draft
from policies_app.services.errors import ServiceError
from policies_app.validation import policy_errors

_LONGEST_FILE = 1_000_000


class PolicyFileError(ServiceError):
    """The file is no policy document."""


def export_policy(*, policy: Policy, version: PolicyVersion | None = None) -> str:
    """Return the draft, or a version, as YAML that `import_policy` takes.

    :raises DocumentError: if the draft states what no document can.
    """
    document = load(version.document) if version else draft_document(policy)
    return yaml.safe_dump(dump(document), sort_keys=False, allow_unicode=True)


@transaction.atomic
def import_policy(*, text: str, author_name: str, reason: str = "") -> Policy:
    """Make the file the draft of the policy that it names, creating the policy if need be. Publishes nothing.

    :raises PolicyFileError: if it is no policy document, or its name is reserved.
    :raises DraftNotReplacedError: if it names a model, tenant or judge that does not exist.
    """
    document = read_policy_file(text)
    _require_policy_name(document.name)
    policy, _ = Policy.objects.get_or_create(name=document.name)
    replace_draft(policy=policy, document=document)
    record_action(
        action=AuditAction.IMPORTED,
        subject=policy,
        author_name=author_name,
        after=dump(document),
        reason=reason,
    )
    return policy


def read_policy_file(text: str) -> PolicyDocument:
    """Return the document that a YAML file holds.

    :raises PolicyFileError: if it is no policy document.
    """
    if len(text) > _LONGEST_FILE:
        raise PolicyFileError(f"The file is longer than {_LONGEST_FILE} characters.")
    try:
        return load(yaml.load(text, Loader=_PlainLoader))  # noqa: S506 - a SafeLoader with less
    except yaml.YAMLError as error:
        raise PolicyFileError(f"The file is not YAML: {error}") from error
    except DocumentError as error:
        raise PolicyFileError(f"The file is no policy document: {error}.") from error


def _require_policy_name(name: str) -> None:
    try:
        Policy._meta.get_field("name").clean(name, None)  # noqa: SLF001 - Django documents it
    except ValidationError as error:
        raise PolicyFileError(f"No policy can be called “{name[:64]}”: {' '.join(error.messages)}") from error
    for problem in policy_errors({"name": name}).values():
        raise PolicyFileError(problem)


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few of them, nested, would unfold to a document without end."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)
