"""The admin's page of prices that want looking at."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from policies_app.admin.fields import show_usd
from policies_app.admin.price_imports import ADD_PRICES
from policies_app.price_catalogue.types import Amounts, NotPublished
from policies_app.roles import SEE_PRICES
from policies_app.services.price_gaps import find_price_gaps
from policies_app.services.price_imports import Comparison, amounts_of


@require_safe
@permission_required(SEE_PRICES, raise_exception=True)
def show_price_gaps(request: HttpRequest) -> HttpResponse:
    """Models that lack a price, and those whose price is not the catalogue's."""
    gaps = find_price_gaps()
    context = admin.site.each_context(request) | {
        "title": "Prices to look at",
        "unpriced": [_row(gap.comparison) | {"named_by": gap.named_by} for gap in gaps.unpriced],
        "differing": [_row(comparison) for comparison in gaps.differing],
        "may_add": request.user.has_perm(ADD_PRICES),
    }
    return TemplateResponse(request, "admin/prices/page.html", context)


def _row(comparison: Comparison) -> dict[str, Any]:
    return {
        "comparison": comparison,
        "in_force": _in_force(comparison),
        "published": _published(comparison),
    }


def _in_force(comparison: Comparison) -> str:
    """The price in force in short; empty if there is none."""
    return "" if comparison.in_force is None else _in_out(amounts_of(comparison.in_force))


def _in_out(amounts: Amounts) -> str:
    return f"{show_usd(amounts.input_nanos)} / {show_usd(amounts.output_nanos)}"


def _published(comparison: Comparison) -> str:
    """The catalogue's price in short; empty if it has none."""
    published = comparison.published
    return "" if isinstance(published, NotPublished) else _in_out(published.amounts)
