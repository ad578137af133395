"""Conditions of a draft's rule beyond those that the rule itself has fields for."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from policies_app.models.catalogue import Model
from policies_app.models.choices import choices_of
from policies_app.models.policies import Rule
from policies_app.routing.codes import BudgetScope, Capability, LatencyMeasure, StickyBy, Weekday
from policies_app.routing.conditions import CONDITION_KINDS
from policies_app.routing.conditions.fleet import PERCENTILES

CONDITION_CHOICES = [
    ("latency", "Latency of a model"),
    ("quality", "Eval score of a model"),
    ("health", "Model or provider is degraded"),
    ("time", "Hours and weekdays"),
    ("share", "Share of the traffic"),
    ("budget_forecast", "Budget is on course to be used up"),
    ("budget_used", "Budget is used"),
    ("api_key", "API key"),
    ("task", "Task"),
    ("tenant", "Tenant"),
    ("end_user", "End user"),
    ("tags", "Tags"),
    ("input_tokens", "Input tokens"),
    ("output_tokens", "Output tokens"),
    ("needs", "What the request needs"),
]
"""Every kind of condition; those that a rule has no field of its own for come first."""


class Condition(models.Model):
    """One condition of a rule. Which fields count depends on the kind; they are named as in policy documents."""

    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, related_name="conditions")
    kind = models.CharField(max_length=32, choices=CONDITION_CHOICES)

    model = models.ForeignKey(
        Model,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Whose figure counts.",
    )
    measure = models.CharField(
        max_length=16,
        blank=True,
        choices=choices_of(LatencyMeasure),
        help_text="Time to the first byte, or in all.",
    )
    percentile = models.PositiveSmallIntegerField(
        null=True, blank=True, choices=[(percentile, f"p{percentile}") for percentile in PERCENTILES]
    )
    above_ms = models.PositiveIntegerField(
        null=True, blank=True, verbose_name="above, ms", help_text="Holds while the figure is above this."
    )
    window_s = models.PositiveIntegerField(
        null=True,
        blank=True,
        verbose_name="window, s",
        help_text="Over the last 30 to 3600 seconds; empty: 300.",
    )
    least_samples = models.PositiveIntegerField(
        null=True, blank=True, help_text="Calls that it takes to tell; empty: 20."
    )
    hysteresis_pct = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        verbose_name="hysteresis, %",
        help_text="Once it holds, until the figure is so far below; empty: 10.",
    )

    task = models.CharField(max_length=64, blank=True, help_text="Empty: the request's own task.")
    score_min = models.FloatField(
        null=True, blank=True, verbose_name="score, at least", help_text="From 0 to 1."
    )

    providers = ArrayField(
        models.CharField(max_length=64), default=list, blank=True, help_text="Any of these providers."
    )

    weekdays = ArrayField(
        models.CharField(max_length=16, choices=choices_of(Weekday)), default=list, blank=True
    )
    starts = models.CharField(max_length=5, blank=True, help_text="As HH:MM.")
    ends = models.CharField(
        max_length=5,
        blank=True,
        help_text="As HH:MM. Before the start: past midnight, on the day it started.",
    )
    zone = models.CharField(max_length=64, blank=True, help_text="Time zone, such as Europe/Berlin.")

    name = models.CharField(
        max_length=64,
        blank=True,
        help_text="Shares of one name are nested: a canary that grows keeps its users.",
    )
    percent = models.FloatField(null=True, blank=True, help_text="Percent of the traffic, such as 5 or 0.5.")
    sticky_by = models.CharField(
        max_length=16,
        blank=True,
        choices=choices_of(StickyBy),
        help_text="Who stays in or out; empty: end user.",
    )

    scope = models.CharField(
        max_length=16, blank=True, choices=choices_of(BudgetScope), help_text="Which budget is looked at."
    )
    used_pct_min = models.PositiveSmallIntegerField(null=True, blank=True, verbose_name="used to at least, %")
    projected_pct_min = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        verbose_name="on course for at least, %",
        help_text="Of the limit, at the period's end; empty: 100.",
    )

    tasks = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    tenants = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    api_keys = ArrayField(
        models.CharField(max_length=64), default=list, blank=True, help_text="Public ids, one a line."
    )
    end_users = ArrayField(models.CharField(max_length=255), default=list, blank=True)
    tags = ArrayField(
        models.CharField(max_length=300), default=list, blank=True, help_text="One key=value a line."
    )
    minimum = models.PositiveIntegerField(null=True, blank=True, verbose_name="at least, tokens")
    maximum = models.PositiveIntegerField(null=True, blank=True, verbose_name="at most, tokens")
    capabilities = ArrayField(
        models.CharField(max_length=32, choices=choices_of(Capability)), default=list, blank=True
    )
    # Last, because from here on the name means this field.
    models = ArrayField(
        models.CharField(max_length=128), default=list, blank=True, help_text="Any of these models."
    )

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(kind__in=list(CONDITION_KINDS)), name="condition_kind_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.rule}: {self.get_kind_display()}"

    def get_inline_title(self) -> str:
        """What heads the row on its rule's page."""
        return self.get_kind_display()
