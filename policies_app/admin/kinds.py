"""Rows of several kinds on one form: which fields count depends on the kind that is chosen."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from unfold.admin import StackedInline
from unfold.forms import PaginationInlineFormSet
from unfold.widgets import UnfoldAdminSelectWidget

from policies_app.admin.fields import CheckboxesField, LinesField
from policies_app.models import Condition, Model, Provider, Validator
from policies_app.models.choices import choices_of
from policies_app.models.conditions import CONDITION_CHOICES
from policies_app.models.validators import VALIDATOR_CHOICES
from policies_app.routing.codes import Capability, Weekday
from policies_app.routing.document import DocumentError
from policies_app.services.operand_rows import condition_of, operand_names, validator_of
from policies_app.validation import UNCONDITIONAL, schema_error


def show_fields_of(widget: forms.Widget, fields_of: Mapping[str, Sequence[str]]) -> None:
    """Tell the page which fields go with each choice of a select, so that it can hide the others.

    A field that several selects have a say in is shown if all of them show it.
    """
    widget.attrs["data-fields-of"] = json.dumps(fields_of)


class KindField(forms.ChoiceField):
    """Which kind a row is of; its other fields go with that."""

    def __init__(self, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__(choices=[("", "—"), *choices], widget=UnfoldAdminSelectWidget)
        show_fields_of(self.widget, {kind: operand_names(kind) for kind, _ in choices})


class OfKindForm(forms.ModelForm):  # type: ignore[type-arg]
    """Checks a row as publishing would. Fields that the kind does not have are emptied, whatever was in them."""

    def value_of(self, row: Any) -> object:
        """What the row states.

        :raises DocumentError: naming the field that is wrong.
        """
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        kept = {"kind", "step", "id", "rule", "DELETE", *operand_names(values.get("kind", ""))}
        for name in set(values) - kept:
            values[name] = self.fields[name].clean("") if not self.fields[name].required else None
        return values

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc] # Django's own seam, which its stubs leave out
        if self.errors:
            return
        try:
            self.value_of(self.instance)
        except DocumentError as error:
            self.add_error(error.path if error.path in self.fields else None, _sentence(error.problem))


class ConditionForm(OfKindForm):
    kind = KindField(CONDITION_CHOICES)
    weekdays = CheckboxesField(choices=choices_of(Weekday), required=False)
    capabilities = CheckboxesField(choices=choices_of(Capability), required=False)
    models = CheckboxesField(choices=[], required=False, help_text="Any of these models.")
    providers = CheckboxesField(choices=[], required=False, help_text="Any of these providers.")
    tasks = LinesField(required=False, item_max_length=64, help_text="One of these, one a line.")
    tenants = LinesField(required=False, item_max_length=64, help_text="One of these, one a line.")
    api_keys = LinesField(
        required=False, item_max_length=64, help_text="One of these keys, by public id, one a line."
    )
    end_users = LinesField(required=False, item_max_length=255, help_text="One of these, one a line.")
    tags = LinesField(required=False, item_max_length=300, help_text="One key=value a line.")

    class Meta:
        model = Condition
        exclude = ("rule",)  # noqa: DJ006

    def value_of(self, row: Any) -> object:
        return condition_of(row)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, kind in (("models", Model), ("providers", Provider)):
            known = kind._default_manager.order_by("name").values_list("name", flat=True)
            self.fields[name].choices = [(row, row) for row in known]  # type: ignore[attr-defined]


class ValidatorForm(OfKindForm):
    kind = KindField(VALIDATOR_CHOICES)
    finish_reasons = LinesField(
        required=False, item_max_length=32, help_text="One of these, one a line; empty: stop or tool_calls."
    )

    class Meta:
        model = Validator
        exclude = ("rule",)  # noqa: DJ006

    def clean_schema(self) -> Any:
        schema = self.cleaned_data["schema"]
        if isinstance(schema, dict) and (problem := schema_error(schema)):
            raise forms.ValidationError(problem)
        return schema

    def value_of(self, row: Any) -> object:
        return validator_of(row)


class OfKindInline(StackedInline):
    """Rows of several kinds. Without the page's script all fields are there, and those of other kinds are passed over."""

    extra = 0
    hide_title = True

    class Media:
        js = ("signalbox/kinds.js",)


class ConditionFormSet(PaginationInlineFormSet):
    """A rule's conditions as a whole."""

    def clean(self) -> None:
        super().clean()
        kept = [form for form in self.forms if form.has_changed() or form.instance.pk]
        if self.instance.is_default and any(not self._should_delete_form(form) for form in kept):
            raise forms.ValidationError(UNCONDITIONAL)


class ConditionInline(OfKindInline):
    model = Condition
    form = ConditionForm
    formset = ConditionFormSet
    verbose_name_plural = "When: further conditions"
    autocomplete_fields = ("model",)


class ValidatorInline(OfKindInline):
    model = Validator
    form = ValidatorForm
    verbose_name_plural = "Validators: what an answer must pass before it is accepted"

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **options: Any) -> Any:
        if db_field.name == "step":
            rule_id = request.resolver_match.kwargs.get("object_id")
            steps = db_field.remote_field.model.objects.select_related("model").order_by("position")
            options["queryset"] = steps.filter(rule_id=rule_id)
            field = super().formfield_for_foreignkey(db_field, request, **options)
            field.label_from_instance = lambda step: f"{step.position}. {step.model}"
            return field
        return super().formfield_for_foreignkey(db_field, request, **options)


def _sentence(problem: str) -> str:
    return f"{problem[0].upper()}{problem[1:]}."
