"""The part of a model's page that says what the model is told otherwise than others."""

from typing import Any, ClassVar

from django import forms
from unfold.widgets import UnfoldAdminExpandableTextareaWidget, UnfoldAdminTextareaWidget

from policies_app.admin.fields import CheckboxesField
from policies_app.models import Model
from policies_app.models.catalogue import QUIRK_FIELDS
from policies_app.routing.codes import RefusedParameter

_IN_WORDS = {
    RefusedParameter.REASONING: "reasoning_effort and thinking",
    RefusedParameter.TOP_P_BESIDE_TEMPERATURE: "top_p, if there is a temperature",
    RefusedParameter.SAMPLING_WHILE_REASONING: "temperature, top_p and top_k, if it is to think",
    RefusedParameter.UNKNOWN_FIELDS: "fields that Signalbox does not know",
}
QUIRKS: tuple[str, dict[str, Any]] = (
    "Quirks",
    {
        "fields": QUIRK_FIELDS,
        "description": "What this model has to be told otherwise than its vendor's other models. Leave all of it as it is"
        " unless the vendor refuses requests, or its documentation says so.",
    },
)


class QuirksForm(forms.ModelForm):  # type: ignore[type-arg]
    refused_parameters = CheckboxesField(
        choices=[(code.value, _IN_WORDS.get(code, code.value)) for code in RefusedParameter],
        required=False,
        help_text=Model._meta.get_field("refused_parameters").help_text,
    )
    fixed_parameters = forms.JSONField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        error_messages={"invalid": "This is no JSON. Names and texts stand in double quotes."},
        help_text=Model._meta.get_field("fixed_parameters").help_text,
    )

    class Meta:
        widgets: ClassVar = dict.fromkeys(
            ("system_prefix", "system_suffix"), UnfoldAdminExpandableTextareaWidget
        )

    def clean_fixed_parameters(self) -> Any:
        fixed = self.cleaned_data["fixed_parameters"]
        return {} if fixed is None else fixed


def quirks_fieldset(model: Model | None) -> tuple[str, dict[str, Any]]:
    """The part of the page, open if it says anything."""
    title, options = QUIRKS
    return (
        QUIRKS if model is not None and _has_quirks(model) else (title, {**options, "classes": ("collapse",)})
    )


def _has_quirks(model: Model) -> bool:
    plain = Model()
    return any(getattr(model, name) != getattr(plain, name) for name in QUIRK_FIELDS)
