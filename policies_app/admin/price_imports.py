"""Prices from the published catalogue, taken over one by one on the pages of models."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from policies_app.admin.auditing import author_of
from policies_app.admin.fields import show_usd
from policies_app.admin.pages import posted, render_page, row_or_404
from policies_app.price_catalogue.types import NotPublished
from policies_app.services.errors import ServiceError
from policies_app.services.price_imports import (
    Comparison,
    Standing,
    amounts_of,
    compare_with_catalogue,
    import_price,
)

ADD_PRICES = "policies_app.add_price"
"""Who holds this permission may take over a price."""

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
    """Adds the action that takes over a model's price."""

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


def _fingerprint(comparison: Comparison) -> str:
    in_force = comparison.in_force.pk if comparison.in_force else None
    published = comparison.published
    amounts = () if isinstance(published, NotPublished) else tuple(nanos for _, nanos in published.amounts)
    return repr((in_force, amounts))
