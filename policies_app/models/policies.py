"""Policies as drafts (rules and their steps) and as published, immutable versions."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from policies_app.models.catalogue import Model
from policies_app.models.choices import choices_of
from policies_app.models.tenants import Tenant
from policies_app.routing.codes import BudgetScope, Capability, Pick, Strategy, WhenNonePasses


class Policy(models.Model):
    """What a client names in `model`. Its rules are a draft; clients are served the live version only."""

    name = models.SlugField(max_length=64, unique=True, help_text="What clients put in “model”, e.g. auto.")
    description = models.CharField(max_length=500, blank=True)
    tenant = models.ForeignKey(
        Tenant,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="policies",
        help_text="Empty: for every tenant.",
    )
    baseline_model = models.ForeignKey(
        Model,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="baseline_of",
        help_text="Savings are measured against sending everything here.",
    )
    enabled = models.BooleanField(default=True, help_text="Off: clients get “model not found”.")
    live_version = models.ForeignKey(
        "policies_app.PolicyVersion",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="live_for",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "policies"
        permissions = (("publish_policy", "Can publish and roll back policies"),)

    def __str__(self) -> str:
        return self.name


class Rule(models.Model):
    """One rule of a draft: when all of its conditions hold, its steps are the route. First match wins.

    An empty condition holds for every request. Conditions read facts, never the text of a prompt.
    """

    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, related_name="rules")
    position = models.PositiveSmallIntegerField(default=0, help_text="Rules are tried in this order.")
    name = models.SlugField(max_length=64, help_text="Shown as the reason of every dispatch that it routes.")
    is_default = models.BooleanField(
        default=False,
        help_text="Takes whatever no other rule took. Every policy needs exactly one; it has no conditions.",
    )
    enabled = models.BooleanField(default=True)

    tasks = ArrayField(
        models.CharField(max_length=64), default=list, blank=True, help_text="Task is one of these."
    )
    tenants = models.ManyToManyField(
        Tenant, blank=True, related_name="+", help_text="Tenant is one of these."
    )
    end_users = ArrayField(
        models.CharField(max_length=255), default=list, blank=True, help_text="End user is one of these."
    )
    tags = ArrayField(
        models.CharField(max_length=300),
        default=list,
        blank=True,
        help_text="Tags as key=value. Several values of one key: any of them; several keys: all of them.",
    )
    input_tokens_min = models.PositiveIntegerField(
        null=True, blank=True, help_text="Estimated input tokens, at least."
    )
    input_tokens_max = models.PositiveIntegerField(
        null=True, blank=True, help_text="Estimated input tokens, at most."
    )
    output_tokens_min = models.PositiveIntegerField(
        null=True, blank=True, help_text="Requested output limit, at least."
    )
    output_tokens_max = models.PositiveIntegerField(
        null=True, blank=True, help_text="Requested output limit, at most."
    )
    needs = ArrayField(
        models.CharField(max_length=32, choices=choices_of(Capability)),
        default=list,
        blank=True,
        help_text="The request needs all of these.",
    )
    budget_scope = models.CharField(
        max_length=16,
        blank=True,
        choices=choices_of(BudgetScope),
        help_text="Which budget the next field looks at.",
    )
    budget_used_pct_min = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="That budget is used up to at least this many percent.",
    )

    strategy = models.CharField(max_length=16, choices=choices_of(Strategy), default=Strategy.FAILOVER)
    deadline_ms = models.PositiveIntegerField(
        verbose_name="deadline, ms",
        default=60_000,
        validators=[MinValueValidator(1)],
        help_text="For the whole dispatch, all attempts together.",
    )
    max_attempts = models.PositiveSmallIntegerField(
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(10)],
        help_text="Upstream calls at most.",
    )
    allow_dearer_fallback = models.BooleanField(
        default=False,
        help_text="Allow steps that cost more than the first one. Without it, publishing refuses them.",
    )
    max_cost_nanos = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="For the whole dispatch, all attempts together; empty: the budgets alone bound it.",
    )
    fall_back_on_long_context = models.BooleanField(
        default=False,
        help_text="A prompt that a vendor finds too long goes on to the next step instead of back to the client.",
    )
    continue_broken_streams = models.BooleanField(
        default=False,
        help_text="The next step carries on a stream that broke off after it had begun to reach the client.",
    )
    drain_ms = models.PositiveIntegerField(
        verbose_name="drain, ms",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="When a client hangs up, its answer is read on for so long, and costs what the vendor counts in the end; "
        "empty: it is cut at once, and costs what was reserved where the vendor may bill it to its end.",
    )
    when_none_passes = models.CharField(
        max_length=16,
        choices=choices_of(WhenNonePasses),
        default=WhenNonePasses.RETURN_LAST,
        help_text="If no answer passes its validators: give the last one, marked as such, or fail.",
    )
    pick = models.CharField(
        max_length=32,
        choices=choices_of(Pick),
        default=Pick.FIRST_VALID,
        help_text="Which of the valid answers is given.",
    )
    judge = models.ForeignKey(
        "policies_app.Judge",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="rules",
        help_text="Who picks, where a judge does: its newest version.",
    )
    patience_ms = models.PositiveIntegerField(
        verbose_name="patience, ms",
        null=True,
        blank=True,
        help_text="How long to wait for the other answers once one is there; empty: until the deadline.",
    )
    hedge_delay_ms = models.PositiveIntegerField(
        verbose_name="hedge delay, ms",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Least silence before the second step is asked. The first one's learned p95 counts where it is longer; "
        "empty: only what was learned.",
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["policy", "position"],
                name="rule_position_unique",
                deferrable=models.Deferrable.DEFERRED,
            ),
            models.UniqueConstraint(fields=["policy", "name"], name="rule_name_unique"),
            models.UniqueConstraint(
                fields=["policy"],
                condition=Q(is_default=True),
                name="rule_one_default",
                violation_error_message="This policy already has a default rule.",
            ),
            models.CheckConstraint(
                condition=Q(input_tokens_min__isnull=True)
                | Q(input_tokens_max__isnull=True)
                | Q(input_tokens_min__lte=F("input_tokens_max")),
                name="rule_input_range_ordered",
                violation_error_message="The least number of input tokens exceeds the most.",
            ),
            models.CheckConstraint(
                condition=Q(output_tokens_min__isnull=True)
                | Q(output_tokens_max__isnull=True)
                | Q(output_tokens_min__lte=F("output_tokens_max")),
                name="rule_output_range_ordered",
                violation_error_message="The least number of output tokens exceeds the most.",
            ),
            models.CheckConstraint(
                condition=Q(budget_scope="", budget_used_pct_min__isnull=True)
                | (~Q(budget_scope="") & Q(budget_used_pct_min__isnull=False)),
                name="rule_budget_condition_whole",
                violation_error_message="A budget condition needs both the scope and the percentage.",
            ),
            models.CheckConstraint(condition=Q(max_attempts__gte=1), name="rule_max_attempts_positive"),
            models.CheckConstraint(condition=Q(deadline_ms__gte=1), name="rule_deadline_positive"),
        )

    def __str__(self) -> str:
        return f"{self.policy}/{self.name}"


class Step(models.Model):
    """One target of a rule's route."""

    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField(default=0, help_text="Steps are tried in this order.")
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="steps")
    timeout_ms = models.PositiveIntegerField(
        verbose_name="timeout, ms",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="For one attempt here; empty: the rule's deadline.",
    )
    max_output_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Lower the output limit here; empty: the model's.",
    )
    weight = models.PositiveSmallIntegerField(
        default=1, help_text="Ranks the answer where the greatest weight is picked."
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["rule", "position"],
                name="step_position_unique",
                deferrable=models.Deferrable.DEFERRED,
            ),
        )

    def __str__(self) -> str:
        return f"{self.rule}/{self.position}: {self.model}"


class PolicyVersion(models.Model):
    """A published policy document. Immutable: a database trigger refuses updates and deletes."""

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    document = models.JSONField()
    content_hash = models.CharField(max_length=64, help_text="SHA-256 of the canonical document.")
    schema_version = models.PositiveSmallIntegerField()
    note = models.CharField(max_length=500, blank=True)
    author_name = models.CharField(max_length=150)
    rolled_back_to = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    published_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["policy", "number"], name="policy_version_number_unique"),
        )

    def __str__(self) -> str:
        return f"{self.policy} v{self.number}"
