"""Prices from the published catalogue, on the pages of models: taken over one by one, and what wants looking at."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from policies_app.admin.auditing import author_of
from policies_app.admin.fields import show_usd
from policies_app.admin.pages import posted, render_page, row_or_404
from policies_app.price_catalogue.types import Amounts, NotPublished
from policies_app.services.errors import ServiceError
from policies_app.services.price_gaps import find_price_gaps
from policies_app.services.price_imports import (
    Comparison,
    Standing,
    amounts_of,
    compare_with_catalogue,
    import_price,
)

ADD_PRICES = "policies_app.add_price"
"""Who holds this permission may take over a price."""
SEE_PRICES = "policies_app.view_price"
"""Who holds this permission may see which models lack one."""

_BUCKETS = {
    "input_nanos": "Input",
    "cached_input_nanos": "Cached input",
    "cache_write_nanos": "Cache write",
    "output_nanos": "Output",
    "reasoning_nanos": "Reasoning",
}


class ImportForm(forms.Form):
    """Asks for what was shown to be taken over. `shown` tells whether it still is what there is to take."""

    shown = forms.CharField(widget=forms.HiddenInput)
    replace_hand_made = forms.BooleanField(
        label="Replace the price that was made by hand",
        widget=UnfoldBooleanSwitchWidget,
        help_text="It stays on the log rows that it was used for.",
    )
    reason = forms.CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="For the audit trail, e.g. who agreed.",
    )

    def __init__(self, data: Any, *, comparison: Comparison) -> None:
        self.fingerprint = _fingerprint(comparison)
        super().__init__(data, initial={"shown": self.fingerprint})
        if comparison.standing is not Standing.HAND_MADE:
            del self.fields["replace_hand_made"]

    def show_again(self) -> None:
        """Let the page that comes next be confirmed for what it shows."""
        if self.is_bound:
            self.data = {**dict(self.data.items()), "shown": self.fingerprint}

    def clean_shown(self) -> str:
        shown: str = self.cleaned_data["shown"]
        if shown != self.fingerprint:
            raise forms.ValidationError("The price has changed meanwhile: look again before you take it.")
        return shown


class PriceImports(ModelAdmin):
    """Adds the action that takes over a model's price, and the page of models that lack one."""

    def get_urls(self) -> list[URLPattern]:
        gaps = self.admin_site.admin_view(self.show_price_gaps)
        return [path("prices/", gaps, name="policies_app_model_prices"), *super().get_urls()]

    def show_price_gaps(self, request: HttpRequest) -> HttpResponse:
        """Models that lack a price, and those whose price is not the catalogue's."""
        if not (request.user.has_perm(SEE_PRICES) and self.has_view_permission(request)):
            raise PermissionDenied
        gaps = find_price_gaps()
        return render_page(
            self,
            request,
            "admin/policies_app/model/prices.html",
            title="Prices to look at",
            differing=[
                {"comparison": one, "in_force": _in_force(one), "published": _published(one)}
                for one in gaps.differing
            ],
            unpriced=[
                {
                    "comparison": gap.comparison,
                    "named_by": gap.named_by,
                    "published": _published(gap.comparison),
                }
                for gap in gaps.unpriced
            ],
            may_add=request.user.has_perm(ADD_PRICES),
        )

    @action(
        description="Price from the catalogue",
        icon="menu_book",
        url_path="price-from-catalogue",
        permissions=(ADD_PRICES,),
    )
    def price_from_catalogue(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what would change, and change it once it is confirmed."""
        model = row_or_404(self, request, object_id)
        (comparison,) = compare_with_catalogue([model])
        form = ImportForm(posted(request), comparison=comparison)
        if form.is_valid():
            return self._import(request, comparison, form)
        form.show_again()
        return render_page(
            self,
            request,
            "admin/policies_app/model/price_from_catalogue.html",
            title=f"Price of {model} from the catalogue",
            row=model,
            comparison=comparison,
            standing=comparison.standing.value,
            buckets=list(_buckets(comparison)),
            form=form,
            add_price_url=reverse("admin:policies_app_model_add_price", args=(model.pk,)),
        )

    def _import(self, request: HttpRequest, comparison: Comparison, form: ImportForm) -> HttpResponse:
        try:
            price = import_price(
                comparison=comparison,
                author_name=author_of(request),
                replace_hand_made=form.cleaned_data.get("replace_hand_made", False),
                reason=form.cleaned_data["reason"],
            )
        except ServiceError as error:
            messages.error(request, str(error))
        else:
            if price is None:
                messages.info(request, f"{comparison.model} has that price already.")
            else:
                messages.success(request, f"From now on: {price} per million tokens.")
        return redirect(reverse("admin:policies_app_model_change", args=(comparison.model.pk,)))


def _buckets(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """The price in force beside the catalogue's, a row for each bucket."""
    if isinstance(comparison.published, NotPublished):
        return
    in_force = None if comparison.in_force is None else amounts_of(comparison.in_force)
    for bucket, nanos in comparison.published.amounts:
        now = None if in_force is None else getattr(in_force, bucket)
        yield {
            "label": _BUCKETS[bucket],
            "in_force": show_usd(now),
            "published": show_usd(nanos),
            "differs": now != nanos,
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


def _fingerprint(comparison: Comparison) -> str:
    in_force = comparison.in_force.pk if comparison.in_force else None
    published = comparison.published
    amounts = () if isinstance(published, NotPublished) else tuple(nanos for _, nanos in published.amounts)
    return repr((in_force, amounts))
