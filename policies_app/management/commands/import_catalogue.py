"""Take over published prices: `manage.py import_catalogue --dry-run`, `… --provider openai --add gpt-5-mini --tier small`."""

import getpass
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils.dateparse import parse_date, parse_datetime

from policies_app.management.price_table import describe
from policies_app.models import Model, Provider
from policies_app.price_catalogue.types import NotPublished
from policies_app.routing.codes import Capability, Tier
from policies_app.services.errors import ServiceError
from policies_app.services.fleet_models import add_model, name_for
from policies_app.services.price_imports import (
    Comparison,
    Standing,
    compare_with_catalogue,
    import_price,
)

_TO_BE_GIVEN = "to be given"
_TO_ADD = frozenset({Standing.UNPRICED, Standing.DIFFERS})


class Command(BaseCommand):
    help = (
        "Take over prices from the catalogue that is built into the package genai-prices; nothing is fetched. Tells what"
        " would change, asks, and adds price rows that count from now (or --from) on. A price that was made by hand stays"
        " unless you say otherwise."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "models", nargs="*", metavar="MODEL", help="of these models; of all, if none is named"
        )
        parser.add_argument("--provider", default="", help="of this provider's models only")
        parser.add_argument(
            "--vendor",
            default="",
            help="whose prices count, where the provider's address does not tell: openai",
        )
        parser.add_argument(
            "--from", dest="since", type=instant, help="count from 2026-12-31 (UTC) on, or an instant"
        )
        parser.add_argument("--reason", default="", help="for the audit trail")
        parser.add_argument(
            "--replace-hand-made", action="store_true", help="also where the price in force was made by hand"
        )
        manner = parser.add_mutually_exclusive_group()
        manner.add_argument(
            "--dry-run", action="store_true", help="tell what would change, and change nothing"
        )
        manner.add_argument("--yes", action="store_true", help="do not ask")
        new = parser.add_argument_group("new models, of --provider")
        new.add_argument("--add", nargs="+", default=[], metavar="WIRE_NAME", help="add these models first")
        new.add_argument("--tier", choices=[tier.value for tier in Tier])
        new.add_argument(
            "--max-output-tokens", type=int, help="most that one reply can hold; not in the catalogue"
        )
        new.add_argument("--context-window", type=int, help="in tokens; where the catalogue does not know it")
        new.add_argument(
            "--capability",
            action="append",
            default=[],
            choices=[capability.value for capability in Capability],
            help="what requests may need of it; not in the catalogue; repeat for several",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        comparisons = self._comparisons(options)
        for one in _new(comparisons):
            self._complete(one, options)
        for line in _describe(comparisons):
            self.stdout.write(line)
        if not options["dry_run"]:
            self._carry_out(comparisons, options)

    def _comparisons(self, options: dict[str, Any]) -> list[Comparison]:
        """The models that are concerned beside the catalogue: with --add the new ones, else those that there are.

        :raises CommandError: if a model, provider or vendor is not known.
        """
        _require_vendor(options["vendor"])
        provider = _provider(options["provider"])
        if options["vendor"] and provider is None:
            raise CommandError("With --vendor, say which provider it is: --provider.")
        models = _new_models(provider, options) if options["add"] else _models(provider, options["models"])
        comparisons = compare_with_catalogue(
            models, effective_from=options["since"], vendor_id=options["vendor"]
        )
        for one in _new(comparisons):
            if isinstance(one.published, NotPublished):
                raise CommandError(f"{one.published} Add {one.model.wire_name} in the admin.")
        return comparisons

    def _complete(self, one: Comparison, options: dict[str, Any]) -> None:
        """Fill in what a new model lacks: from the catalogue, the options, or by asking."""
        model = one.model
        known = None if isinstance(one.published, NotPublished) else one.published.context_window_tokens
        model.tier = options["tier"] or self._ask(model, "tier (small, mid, frontier)", "--tier", options)
        model.context_window_tokens = (
            options["context_window"]
            or known
            or self._ask(model, "context window in tokens", "--context-window", options)
        )
        model.max_output_tokens = options["max_output_tokens"] or self._ask(
            model, "most output tokens of one reply", "--max-output-tokens", options
        )
        if not options["capability"] and _may_ask(options):
            named = input(f"{model.wire_name}: capabilities ({' '.join(Capability)})? ")
            model.capabilities = named.replace(",", " ").split()

    def _ask(self, model: Model, what: str, option: str, options: dict[str, Any]) -> Any:
        """What somebody at the terminal says; None in a dry run, which needs no answer."""
        if options["dry_run"]:
            return None
        if not _may_ask(options):
            raise CommandError(f"The catalogue does not know it of {model.wire_name}: give {option}.")
        return input(f"{model.wire_name}: {what}? ").strip()

    def _carry_out(self, comparisons: list[Comparison], options: dict[str, Any]) -> None:
        replaced = self._hand_made_to_replace(comparisons, options)
        prices = [one for one in comparisons if one.standing in _TO_ADD or one in replaced]
        if not prices:
            self.stdout.write("Nothing to change.")
            return
        new = list(_new(comparisons))
        what = " and ".join(filter(None, (_count(len(new), "model"), _count(len(prices), "price"))))
        if not options["yes"] and not _is_confirmed(f"Add {what}?"):
            raise CommandError("Nothing was changed.")
        try:
            _apply(new, prices, author_name=getpass.getuser(), reason=options["reason"])
        except ServiceError as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        self.stdout.write(f"Added {what}.")

    def _hand_made_to_replace(
        self, comparisons: list[Comparison], options: dict[str, Any]
    ) -> list[Comparison]:
        """Those prices made by hand that somebody wants replaced, asked one by one."""
        by_hand = [one for one in comparisons if one.standing is Standing.HAND_MADE]
        if options["replace_hand_made"]:
            return by_hand
        if _may_ask(options):
            by_hand, asked = [], by_hand
            for one in asked:
                if _is_confirmed(f"The price of {one.model} was made by hand. Replace it?"):
                    by_hand.append(one)
            return by_hand
        for one in by_hand:
            self.stdout.write(f"{one.model} keeps its price, made by hand; --replace-hand-made replaces it.")
        return []


def instant(text: str) -> datetime:
    """Read a day, which begins at midnight UTC, or an instant with its zone (UTC if it names none).

    :raises ArgumentTypeError: if it is neither.
    """
    try:
        if day := parse_date(text):
            return datetime.combine(day, time.min, tzinfo=UTC)
        if at := parse_datetime(text):
            return at if at.tzinfo else at.replace(tzinfo=UTC)
    except ValueError:
        pass
    raise ArgumentTypeError(f"“{text}” is no day such as 2026-12-31 and no instant")


def _require_vendor(vendor_id: str) -> None:
    from policies_app.price_catalogue.lookup import known_vendors

    if vendor_id and vendor_id not in known_vendors():
        raise CommandError(f"The catalogue knows no vendor {vendor_id}, but {', '.join(known_vendors())}.")


def _provider(name: str) -> Provider | None:
    if not name:
        return None
    try:
        return Provider.objects.get(name=name)
    except Provider.DoesNotExist as error:
        raise CommandError(f"There is no provider called {name}.") from error


def _models(provider: Provider | None, names: list[str]) -> list[Model]:
    models = Model.objects.select_related("provider").order_by("name")
    if provider:
        models = models.filter(provider=provider)
    if not names:
        return list(models)
    found = list(models.filter(name__in=names))
    if missing := set(names) - {model.name for model in found}:
        raise CommandError(f"There is no model called {', '.join(sorted(missing))}.")
    return found


def _new_models(provider: Provider | None, options: dict[str, Any]) -> list[Model]:
    """Those of --add, not saved yet; those that the provider has already are taken as they are."""
    if provider is None or options["models"]:
        raise CommandError("With --add, say which provider has them, and name no other models: --provider.")
    there = {model.wire_name: model for model in provider.models.select_related("provider")}
    return [
        there.get(wire_name)
        or Model(
            provider=provider,
            name=name_for(wire_name, provider=provider),
            wire_name=wire_name,
            capabilities=options["capability"],
        )
        for wire_name in dict.fromkeys(options["add"])
    ]


def _new(comparisons: Iterable[Comparison]) -> Iterator[Comparison]:
    return (one for one in comparisons if not one.model.pk)


def _describe(comparisons: list[Comparison]) -> Iterator[str]:
    for one in _new(comparisons):
        model = one.model
        abilities = ", ".join(model.capabilities) or "none: requests that need any never go there"
        yield (
            f"New model {model} ({model.provider}/{model.wire_name}): tier {model.tier or _TO_BE_GIVEN}, context window"
            f" {model.context_window_tokens or _TO_BE_GIVEN}, output {model.max_output_tokens or _TO_BE_GIVEN},"
            f" capabilities {abilities}."
        )
    yield from describe(comparisons)


@transaction.atomic
def _apply(new: list[Comparison], prices: list[Comparison], *, author_name: str, reason: str) -> None:
    for one in new:
        add_model(model=one.model, author_name=author_name, reason=reason)
    for one in prices:
        import_price(comparison=one, author_name=author_name, replace_hand_made=True, reason=reason)


def _may_ask(options: dict[str, Any]) -> bool:
    """Whether somebody is there and wants to be asked."""
    return not (options["yes"] or options["dry_run"]) and sys.stdin.isatty()


def _count(number: int, noun: str) -> str:
    return "" if not number else f"{number} {noun}{'' if number == 1 else 's'}"


def _is_confirmed(question: str) -> bool:
    """Whether somebody at the terminal says yes.

    :raises CommandError: if nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise CommandError("Nothing was changed: nobody is there to be asked. Say --yes.")
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
