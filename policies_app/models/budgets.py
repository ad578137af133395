"""How much a tenant, one of its users, one of its keys or a policy may spend in a period."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from policies_app.models.choices import choices_of
from policies_app.models.policies import Policy
from policies_app.models.tenants import ApiKey, Tenant
from policies_app.routing.codes import BudgetAction, BudgetPeriod, BudgetScope, Tier


def default_alerts() -> list[int]:
    """Percentages of use that a new budget tells of."""
    return [80, 100]


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
    period = models.CharField(max_length=16, choices=choices_of(BudgetPeriod), default=BudgetPeriod.MONTH)
    limit_nanos = models.BigIntegerField(
        validators=[MinValueValidator(0)], help_text="Nano-dollars: 1 USD is 1,000,000,000."
    )
    action = models.CharField(
        max_length=16,
        choices=choices_of(BudgetAction),
        default=BudgetAction.REJECT,
        help_text="Reject: refuse what does not fit. Downgrade: smaller models from the threshold on, then refuse. Alert: never refuse.",
    )
    downgrade_at_pct = models.PositiveSmallIntegerField(
        default=80,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="Downgrade from this much use on.",
    )
    downgrade_to_tier = models.CharField(
        max_length=16,
        choices=choices_of(Tier),
        default=Tier.SMALL,
        help_text="The highest tier allowed then.",
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

    class Meta:
        permissions = (("change_budget_limit", "Can change the limit of a budget"),)
        constraints = (
            models.UniqueConstraint(fields=["tenant", "name"], name="budget_name_unique"),
            models.CheckConstraint(condition=Q(limit_nanos__gte=0), name="budget_limit_not_negative"),
            models.CheckConstraint(
                condition=Q(scope=BudgetScope.TENANT, api_key__isnull=True, policy__isnull=True, end_user="")
                | Q(scope=BudgetScope.END_USER, api_key__isnull=True, policy__isnull=True)
                | Q(scope=BudgetScope.API_KEY, api_key__isnull=False, policy__isnull=True, end_user="")
                | Q(scope=BudgetScope.POLICY, api_key__isnull=True, policy__isnull=False, end_user=""),
                name="budget_scope_names_its_subject",
                violation_error_message="Fill in exactly the field that the scope names, and leave the others empty.",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tenant}: {self.name}"
