"""Between rows whose fields are named like a document's operands (conditions, validators) and the values of the core.

What a row states is read exactly as a document is, so a complaint names the field that is wrong.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from policies_app.models import Condition, Judge, JudgeVersion, Model, Validator
from policies_app.routing import conditions, validators
from policies_app.routing.conditions import CONDITION_KINDS
from policies_app.routing.document import DocumentError
from policies_app.routing.operands import OperandError
from policies_app.routing.reading import plain, read_value
from policies_app.routing.validators import VALIDATOR_KINDS, JudgeReference


def operand_names(kind: str) -> tuple[str, ...]:
    """The operands of a kind of condition or validator, which are the fields of its row."""
    expected: Any = {**CONDITION_KINDS, **VALIDATOR_KINDS}.get(kind)
    return () if expected is None else tuple(field.name for field in fields(expected) if field.init)


def condition_of(row: Condition) -> conditions.Condition:
    """The condition that a row states.

    :raises DocumentError: naming the field that is wrong.
    """
    stated = _stated(row, CONDITION_KINDS)
    if "model" in stated:
        stated["model"] = row.model.name if row.model else None
    if "tags" in stated:
        stated["tags"] = tags_by_key(row.tags)
    condition: conditions.Condition = read_value(stated, conditions.Condition, "")
    return condition


def validator_of(row: Validator) -> validators.Validator:
    """The validator that a row states, with the newest version of its judge.

    :raises DocumentError: naming the field that is wrong.
    """
    stated = _stated(row, VALIDATOR_KINDS)
    if "judge" in stated:
        stated["judge"] = plain(newest_version(row.judge)) if row.judge else None
    if row.kind == validators.SamplesAgree.kind and row.at_least is not None:
        stated["at_least"] = int(row.at_least) if row.at_least.is_integer() else row.at_least
    validator: validators.Validator = read_value(stated, validators.Validator, "")
    return validator


def newest_version(judge: Judge) -> JudgeReference:
    """The judge as a document that is written now names it.

    :raises DocumentError: if it has no version yet.
    """
    numbers = [version.number for version in judge.versions.all()]
    if not numbers:
        raise DocumentError("judge", f"“{judge}” has no version yet")
    return JudgeReference(name=judge.name, version=max(numbers))


def condition_row(condition: conditions.Condition, *, models: Mapping[str, Model]) -> Condition:
    """A row, not saved and without a rule, that states `condition`."""
    stated = plain(condition)
    if "model" in stated:
        stated["model"] = models[stated["model"]]
    if isinstance(condition, conditions.TagsMatch):
        stated["tags"] = tags_as_lines(condition)
    return Condition(**_columns(Condition, stated))


def validator_row(validator: validators.Validator, *, judges: Mapping[str, Judge]) -> Validator:
    """A row, not saved and without a rule, that states `validator`."""
    stated = plain(validator)
    if isinstance(validator, validators.JudgedAtLeast):
        stated["judge"] = judges[validator.judge.name]
    return Validator(**_columns(Validator, stated))


def tags_by_key(tags: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Lines of the form key=value as the operand of a condition.

    :raises DocumentError: if a line has another form.
    """
    values: dict[str, list[str]] = defaultdict(list)
    for tag in tags:
        key, separator, value = tag.partition("=")
        if not (key and separator and value):
            raise DocumentError("tags", f"“{tag}” is not of the form key=value")
        values[key].append(value)
    return {key: tuple(of_key) for key, of_key in values.items()}


def tags_as_lines(condition: conditions.TagsMatch) -> list[str]:
    """The condition's tags, one key=value each."""
    return [f"{key}={value}" for key, values in condition.tags.items() for value in values]


def scale_of(version: JudgeVersion) -> dict[str, float]:
    """The words of a judge's scale with their scores; empty for a scale of numbers.

    :raises OperandError: if a line is not of the form word=score, or a score is not from 0 to 1.
    """
    scores = {}
    for line in version.verdicts:
        word, separator, text = line.rpartition("=")
        try:
            score = float(text)
        except ValueError:
            score = -1.0
        if not (word.strip() and separator and 0 <= score <= 1):
            raise OperandError(f"verdicts: “{line}” is not of the form word=score, with a score from 0 to 1")
        scores[word.strip()] = score
    return scores


def _stated(row: Condition | Validator, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """What the row's fields say, as far as its kind has them; empty ones are left to their defaults."""
    if row.kind not in kinds:
        raise DocumentError("kind", "is not known")
    stated = {name: getattr(row, name) for name in operand_names(row.kind)}
    return {"kind": row.kind} | {name: value for name, value in stated.items() if value not in (None, "", [])}


def _columns(row: type[Condition] | type[Validator], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a row's constructor: what is None stands as the field's own emptiness."""
    named = {field.name: field for field in row._meta.get_fields()}  # noqa: SLF001 - Django documents it
    return {name: value for name, value in stated.items() if name in named and value is not None}
