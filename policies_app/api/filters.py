"""Filters of lists. Rows that a row belongs to are given by name, as everywhere in the API."""

from django.utils import timezone
from django_filters import rest_framework as filters

from policies_app.models import (
    ApiKey,
    Budget,
    BudgetRaise,
    Credential,
    Model,
    Policy,
    Price,
    QualityScore,
    RateLimit,
)
from policies_app.models.catalogue import ModelQuerySet


def _name_of(relation: str) -> filters.CharFilter:
    return filters.CharFilter(field_name=f"{relation}__name")


class CredentialFilter(filters.FilterSet):
    provider = _name_of("provider")

    class Meta:
        model = Credential
        fields = ("enabled",)


class ModelFilter(filters.FilterSet):
    provider = _name_of("provider")
    priced = filters.BooleanFilter(method="filter_priced", label="Has a price in force.")

    class Meta:
        model = Model
        fields = ("enabled", "tier")

    def filter_priced(self, models: ModelQuerySet, _name: str, value: bool) -> ModelQuerySet:  # noqa: FBT001
        """Those that have a price in force now, or those that lack one."""
        now = timezone.now()
        return models.priced(at=now) if value else models.unpriced(at=now)


class PriceFilter(filters.FilterSet):
    model = _name_of("model")

    class Meta:
        model = Price
        fields = ()


class QualityScoreFilter(filters.FilterSet):
    model = _name_of("model")

    class Meta:
        model = QualityScore
        fields = ("task",)


class ApiKeyFilter(filters.FilterSet):
    tenant = _name_of("tenant")

    class Meta:
        model = ApiKey
        fields = ("enabled",)


class PolicyFilter(filters.FilterSet):
    tenant = _name_of("tenant")

    class Meta:
        model = Policy
        fields = ("enabled",)


class BudgetFilter(filters.FilterSet):
    tenant = _name_of("tenant")

    class Meta:
        model = Budget
        fields = ("scope", "period", "action", "enabled")


class BudgetRaiseFilter(filters.FilterSet):
    tenant = filters.CharFilter(field_name="budget__tenant__name")

    class Meta:
        model = BudgetRaise
        fields = ("budget",)


class RateLimitFilter(filters.FilterSet):
    tenant = _name_of("tenant")
    model = _name_of("model")

    class Meta:
        model = RateLimit
        fields = ("scope", "kind", "enabled")
