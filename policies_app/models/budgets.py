"""How much a tenant, one of its users, one of its keys, a policy or what bears a tag may spend in a period."""

from datetime import datetime
from enum import StrEnum

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.expressions import RawSQL
from django.utils import timezone

from policies_app.models.choices import choices_of
from policies_app.models.policies import Policy
from policies_app.models.tenants import ApiKey, Tenant
from policies_app.routing.codes import BudgetAction, BudgetPeriod, BudgetScope
from policies_app.routing.money import usd
from policies_app.validation import SMALL_FROM_PCT


class RaiseState(StrEnum):
    """What becomes of a raise: it waits for its second person, is to come, counts, is over, or was withdrawn."""

    WAITING = "waiting"
    TO_COME = "to come"
    RUNNING = "running"
    OVER = "over"
    WITHDRAWN = "withdrawn"


def default_alerts() -> list[int]:
    """Percentages of use that a new budget tells of."""
    return [80, 100]


class BudgetQuerySet(models.QuerySet["Budget"]):
    def with_limit_at(self, at: datetime) -> "BudgetQuerySet":
        """Each with `limit_at_nanos`: what it allows at an instant, its raises included, by the ledger's own reckoning."""
        # The table's name is the row itself, which the function takes.
        limit: RawSQL = RawSQL("budget_limit_nanos(policies_app_budget, %s)", (at,), models.BigIntegerField())
        return self.annotate(**{"limit_at_nanos": limit})  # noqa: PIE804 - the type checker takes it for a second field


class Budget(models.Model):
    """A limit on spend, in nano-dollars. What is spent stands in the ledger, never here.

    A budget with action *alert* is soft: it is counted and never refuses. The other two are hard caps. A budget of
    scope end user without an end user applies to each of the tenant's end users separately.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="budgets")
    name = models.CharField(max_length=100)
    scope = models.CharField(max_length=16, choices=choices_of(BudgetScope), default=BudgetScope.TENANT)
    api_key = models.ForeignKey(
        ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets"
    )
    policy = models.ForeignKey(
        Policy, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets"
    )
    end_user = models.CharField(
        max_length=255, blank=True, help_text="Empty, with scope end user: each one separately."
    )
    tag = models.CharField(
        max_length=321, blank=True, help_text="With scope tag: requests with this one, as key=value."
    )
    period = models.CharField(max_length=16, choices=choices_of(BudgetPeriod), default=BudgetPeriod.MONTH)
    month_begins_on = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(31)],
        help_text="The day on which a month begins; in shorter months the last one.",
    )
    limit_nanos = models.BigIntegerField(
        validators=[MinValueValidator(0)], help_text="Nano-dollars: 1 USD is 1,000,000,000."
    )
    action = models.CharField(
        max_length=16,
        choices=choices_of(BudgetAction),
        default=BudgetAction.REJECT,
        help_text="Reject: refuse what does not fit. Downgrade: smaller models from the thresholds on, then refuse. Alert: never refuse.",
    )
    mid_from_pct = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(100)],
        verbose_name="mid at most, from",
        help_text="Percent of the limit from which on no model above the tier mid is asked. Empty: never.",
    )
    small_from_pct = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        default=SMALL_FROM_PCT,
        validators=[MaxValueValidator(100)],
        verbose_name="small only, from",
        help_text="Percent of the limit from which on only models of the tier small are asked. Empty: never. Free models always are.",
    )
    shrink_to_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        verbose_name="shrink to fit, to",
        help_text="Output tokens. What the rest does not cover is asked for with a lower output limit, but not below this. Empty: refused.",
    )
    alert_at_pcts = ArrayField(
        models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(1_000)]),
        default=default_alerts,
        blank=True,
        verbose_name="alert at",
        help_text="Percentages of the limit, such as 50, 80, 100. The tenant's alert destinations hear of each once a period.",
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = BudgetQuerySet.as_manager()

    limit_at_nanos: int
    """Where the row was read `with_limit_at`."""

    class Meta:
        permissions = (("change_budget_limit", "Can change the limit of a budget"),)
        constraints = (
            models.UniqueConstraint(fields=["tenant", "name"], name="budget_name_unique"),
            models.CheckConstraint(condition=Q(limit_nanos__gte=0), name="budget_limit_not_negative"),
            models.CheckConstraint(
                condition=Q(scope=BudgetScope.TAG) & Q(tag__regex="^[^=]+=.+$")
                | ~Q(scope=BudgetScope.TAG) & Q(tag=""),
                name="budget_scope_tag_names_one",
                violation_error_message="A budget of scope tag needs a tag such as project=apollo, and no other has one.",
            ),
            models.CheckConstraint(
                condition=Q(month_begins_on__range=(1, 31)), name="budget_month_begins_on_a_day"
            ),
            models.CheckConstraint(
                condition=Q(mid_from_pct__isnull=True)
                | Q(small_from_pct__isnull=True)
                | Q(mid_from_pct__lt=F("small_from_pct")),
                name="budget_downgrades_step_by_step",
                violation_error_message="The step down to mid-size models has to come before the one to small ones.",
            ),
            models.CheckConstraint(
                condition=Q(scope=BudgetScope.TENANT, api_key__isnull=True, policy__isnull=True, end_user="")
                | Q(scope=BudgetScope.END_USER, api_key__isnull=True, policy__isnull=True)
                | Q(scope=BudgetScope.API_KEY, api_key__isnull=False, policy__isnull=True, end_user="")
                | Q(scope=BudgetScope.POLICY, api_key__isnull=True, policy__isnull=False, end_user="")
                | Q(scope=BudgetScope.TAG, api_key__isnull=True, policy__isnull=True, end_user=""),
                name="budget_scope_names_its_subject",
                violation_error_message="Fill in exactly the field that the scope names, and leave the others empty.",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tenant}: {self.name}"


class BudgetRaiseQuerySet(models.QuerySet["BudgetRaise"]):
    def standing(self) -> "BudgetRaiseQuerySet":
        """Raises that count, or will: confirmed where they take a second person, not withdrawn, not over."""
        return self.filter(
            Q(ends_at__isnull=True) | Q(ends_at__gt=timezone.now()),
            Q(confirmed_at__isnull=False) | Q(needs_second_person=False),
            withdrawn_at__isnull=True,
        )


class BudgetRaise(models.Model):
    """So much more than a budget's limit, in each period, for a time. Admission reads it: from its end on it counts no more.

    Rows are never edited or deleted, only confirmed and withdrawn, so they are their own history.
    """

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="raises")
    amount_nanos = models.BigIntegerField(
        validators=[MinValueValidator(1)], help_text="Nano-dollars on top of the limit."
    )
    starts_at = models.DateTimeField(default=timezone.now, help_text="UTC.")
    ends_at = models.DateTimeField(
        null=True, blank=True, help_text="UTC. It counts until then; empty: until it is withdrawn."
    )
    reason = models.CharField(max_length=500, help_text="What it is for.")
    needs_second_person = models.BooleanField(default=False, editable=False)
    author_name = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    confirmed_by_name = models.CharField(max_length=150, blank=True, editable=False)
    confirmed_at = models.DateTimeField(null=True, blank=True, editable=False)
    withdrawn_by_name = models.CharField(max_length=150, blank=True, editable=False)
    withdrawn_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = BudgetRaiseQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(amount_nanos__gt=0), name="budget_raise_raises"),
            models.CheckConstraint(condition=~Q(reason=""), name="budget_raise_has_reason"),
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True) | Q(ends_at__gt=F("starts_at")),
                name="budget_raise_ends_after_its_start",
                violation_error_message="It has to end after it begins.",
            ),
            models.CheckConstraint(
                condition=Q(needs_second_person=False) | ~Q(confirmed_by_name=F("author_name")),
                name="budget_raise_confirmed_by_second_person",
            ),
        )

    def __str__(self) -> str:
        return f"{self.budget} + {usd(self.amount_nanos)} USD"

    @property
    def state(self) -> RaiseState:
        """What becomes of it now."""
        now = timezone.now()
        if self.withdrawn_at is not None:
            return RaiseState.WITHDRAWN
        if self.ends_at is not None and self.ends_at <= now:
            return RaiseState.OVER
        if self.needs_second_person and self.confirmed_at is None:
            return RaiseState.WAITING
        return RaiseState.RUNNING if self.starts_at <= now else RaiseState.TO_COME
