"""Judges change by versions: what a policy was published with stays as it was."""

import logging
from collections.abc import Iterator
from difflib import ndiff
from typing import Any

from django.db import transaction
from django.db.models import Max

from policies_app.models import Judge, JudgeVersion
from policies_app.routing import types as routing
from policies_app.routing.operands import OperandError
from policies_app.services.audit import record_creation
from policies_app.services.operand_rows import scale_of

logger = logging.getLogger(__name__)

VERSION_FIELDS = (
    "model",
    "instructions",
    "rubric",
    "lowest",
    "highest",
    "verdicts",
    "default",
    "timeout_ms",
    "max_output_tokens",
)
"""What makes one version differ from another."""
_TEXTS = ("instructions", "rubric")


@transaction.atomic
def add_judge_version(
    *, judge: Judge, values: dict[str, Any], author_name: str, note: str = ""
) -> JudgeVersion | None:
    """Make `values` (see `VERSION_FIELDS`) the judge's newest version; None if its newest says just that."""
    locked = Judge.objects.select_for_update().get(pk=judge.pk)
    newest = locked.versions.order_by("-number").first()
    if newest is not None and all(getattr(newest, name) == values[name] for name in VERSION_FIELDS):
        return None
    last = locked.versions.aggregate(last=Max("number"))["last"] or 0
    version = JudgeVersion.objects.create(
        judge=locked, number=last + 1, author_name=author_name, note=note, **values
    )
    record_creation(subject=version, author_name=author_name, reason=note)
    return version


def version_changes(old: JudgeVersion, new: JudgeVersion) -> Iterator[str]:
    """Tell what `new` changes, a line each. Of texts, the lines that are new and those that are gone."""
    for name in VERSION_FIELDS:
        before, after = getattr(old, name), getattr(new, name)
        if name in _TEXTS:
            yield from _changed_lines(name, before, after)
        elif before != after:
            yield f"{name.replace('_', ' ')}: {_shown(after)}; was {_shown(before)}"


def read_judges() -> routing.Judges:
    """Read every version of every judge. One whose scale cannot be read is left out, and so asked by no plan."""
    judges: dict[tuple[str, int], routing.Judge] = {}
    for row in JudgeVersion.objects.select_related("judge", "model"):
        try:
            judges[row.judge.name, row.number] = _judge(row)
        except OperandError:
            logger.exception(
                "Version %d of judge %s cannot be read; it is not served.", row.number, row.judge
            )
    return judges


def _changed_lines(name: str, before: str, after: str) -> Iterator[str]:
    standings = {"+ ": "now", "- ": "no longer"}
    for line in ndiff(before.splitlines(), after.splitlines()):
        if standing := standings.get(line[:2]):
            yield f"{name}, {standing}: {line[2:]}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _judge(row: JudgeVersion) -> routing.Judge:
    return routing.Judge(
        name=row.judge.name,
        version=row.number,
        model=row.model.name,
        instructions=row.instructions,
        rubric=row.rubric,
        lowest=row.lowest,
        highest=row.highest,
        verdicts=scale_of(row),
        default=row.default,
        timeout_ms=row.timeout_ms,
        max_output_tokens=row.max_output_tokens,
    )
