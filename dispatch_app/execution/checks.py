"""Validators that need nothing but the answer itself. Pure."""

import re
from typing import Any

from dispatch_app.execution.canonical import Choice, Reply, Request
from dispatch_app.execution.confidence import confidence
from dispatch_app.execution.ports import Finding
from dispatch_app.execution.said import calls_tools, json_of, text_of
from dispatch_app.execution.schemas import requested_schema, schema_problem
from policies_app.routing.validators import (
    DeclaredAtLeast,
    FinishReasonIs,
    JsonSchemaHolds,
    LengthBetween,
    LogprobAtLeast,
    NotRefused,
)

Local = JsonSchemaHolds | LogprobAtLeast | DeclaredAtLeast | FinishReasonIs | LengthBetween | NotRefused

_MOST_WORDS = 160
_REFUSAL = re.compile(
    r"(i.?m sorry|sorry|i apologi[sz]e|unfortunately|as an ai( language)? model)?\W*(but )?"
    r"(i|we)( |.?m |.?re )(can ?not|can.?t|(am |are )?(unable|not able) to|won.?t|will not|(must|have to) decline)\b",
    re.IGNORECASE,
)
"""How refusals begin, in English. Vendors that say so in a field of their own are believed in any language."""


def check(validator: Local, reply: Reply, *, request: Request) -> Finding:
    """Put every choice of the reply to one validator; the first that fails speaks for all."""
    match validator:
        case LogprobAtLeast():
            return _check_confidence(validator, reply)
        case _:
            problems = (_problem(validator, choice, request) for choice in reply.choices)
            problem = next((problem for problem in problems if problem), "")
            return finding(validator, passed=not problem, actual=problem)


def finding(validator: Any, *, passed: bool, actual: str = "", score: float | None = None) -> Finding:
    """What a validator found, in words and, where it measures something, as a figure."""
    return Finding(
        validator=validator.kind,
        passed=passed,
        expected=validator.expected(),
        actual=actual[:_MOST_WORDS],
        score=None if score is None else round(score, 4),
    )


def _check_confidence(validator: LogprobAtLeast, reply: Reply) -> Finding:
    figure = confidence(reply, validator.measure)
    if figure is None:
        return finding(validator, passed=False, actual="it came without token probabilities")
    return finding(validator, passed=figure >= validator.at_least, actual=f"it is {figure:.2f}", score=figure)


def _problem(validator: Any, choice: Choice, request: Request) -> str:
    """What is wrong with one choice, in words; empty if nothing is."""
    match validator:
        case JsonSchemaHolds():
            return _schema_problem(validator, choice, request)
        case DeclaredAtLeast():
            return _declaration_problem(validator, choice)
        case FinishReasonIs():
            is_expected = choice.finish_reason in validator.finish_reasons
            return "" if is_expected else f"it ended by {choice.finish_reason or 'nothing'}"
        case LengthBetween():
            return _length_problem(validator, choice)
        case _:
            return _refusal_problem(choice)


def _schema_problem(validator: JsonSchemaHolds, choice: Choice, request: Request) -> str:
    is_own = validator.schema is not None
    schema = validator.schema if is_own else requested_schema(request)
    if schema is None or calls_tools(choice):
        return ""
    try:
        value = json_of(text_of(choice))
    except ValueError:
        return "it is no JSON"
    return schema_problem(value, schema, is_trusted=is_own)


def _declaration_problem(validator: DeclaredAtLeast, choice: Choice) -> str:
    try:
        value = json_of(text_of(choice))
    except ValueError:
        return "the answer is no JSON"
    for name in validator.field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"it declares no number {validator.field}"
    return "" if value >= validator.at_least else f"{validator.field} is {value:g}"


def _length_problem(validator: LengthBetween, choice: Choice) -> str:
    length = len(text_of(choice))
    is_short = validator.minimum is not None and length < validator.minimum and not calls_tools(choice)
    is_long = validator.maximum is not None and length > validator.maximum
    return f"it has {length}" if is_short or is_long else ""


def _refusal_problem(choice: Choice) -> str:
    if choice.message.get("refusal") or choice.finish_reason == "content_filter":
        return "the vendor marks it as a refusal"
    return "it begins like a refusal" if _REFUSAL.match(text_of(choice).lstrip()) else ""
