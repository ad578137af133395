"""Models without a price, which are never called, and those whose price is not what the catalogue says today."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from django.utils import timezone

from policies_app.models import JudgeVersion, Model, Step
from policies_app.services.blast_radius import published_documents
from policies_app.services.price_imports import Comparison, Standing, compare_with_catalogue

_OFF = frozenset({Standing.DIFFERS, Standing.HAND_MADE})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpricedModel:
    """A model that is on and has no price in force. `named_by` are the rules and judges that would call it, in words."""

    comparison: Comparison
    named_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceGaps:
    """What of the fleet's prices wants looking at, by the models' names."""

    unpriced: tuple[UnpricedModel, ...]
    differing: tuple[Comparison, ...]


def count_unpriced() -> int:
    """How many models are on and have no price in force."""
    return Model.objects.switched_on().unpriced(at=timezone.now()).count()


def find_price_gaps() -> PriceGaps:
    """Look through all models that are on, and compare them with the catalogue."""
    fleet = Model.objects.switched_on().select_related("provider").order_by("name")
    comparisons = compare_with_catalogue(fleet)
    unpriced = [comparison for comparison in comparisons if comparison.in_force is None]
    named_by = _named_by({comparison.model.name for comparison in unpriced})
    return PriceGaps(
        unpriced=tuple(
            UnpricedModel(comparison=comparison, named_by=named_by[comparison.model.name])
            for comparison in unpriced
        ),
        differing=tuple(comparison for comparison in comparisons if comparison.standing in _OFF),
    )


def _named_by(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    if names:
        live = set(_named_live(names))
        for model, rule in sorted(live):
            found[model].append(rule)
        for model, rule in sorted(set(_named_in_drafts(names)) - live):
            found[model].append(f"{rule} (draft)")
        for model, judge in _named_by_judges(names):
            found[model].append(f"judge {judge}")
    return {name: tuple(found[name]) for name in names}


def _named_live(names: Collection[str]) -> Iterator[tuple[str, str]]:
    for document in published_documents():
        for rule in document.rules:
            for step in rule.route.steps:
                if step.model in names:
                    yield step.model, f"{document.name} / {rule.name}"


def _named_in_drafts(names: Collection[str]) -> Iterator[tuple[str, str]]:
    steps = Step.objects.filter(model__name__in=names).values_list(
        "model__name", "rule__policy__name", "rule__name"
    )
    return ((model, f"{policy} / {rule}") for model, policy, rule in steps)


def _named_by_judges(names: Collection[str]) -> list[tuple[str, str]]:
    """By the newest version of each judge, which drafts use."""
    newest = JudgeVersion.objects.order_by("judge__name", "-number").distinct("judge__name")
    return [
        (model, judge) for model, judge in newest.values_list("model__name", "judge__name") if model in names
    ]
