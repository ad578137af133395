"""Kill switches: what may not be called, from the moment that the row is saved."""

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from policies_app.models.catalogue import Model, Provider
from policies_app.models.choices import choices_of
from policies_app.models.policies import Policy
from policies_app.models.tenants import ApiKey, Tenant
from policies_app.routing.codes import KillScope


class KillSwitchQuerySet(models.QuerySet["KillSwitch"]):
    def active(self) -> "KillSwitchQuerySet":
        """Switches that stop something now."""
        return self.filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now()), lifted_at__isnull=True
        )


class KillSwitch(models.Model):
    """One emergency stop. Admission reads these rows under a lock: none is admitted after the save has returned.

    Rows are never edited or deleted, only lifted, so they are their own history.
    """

    scope = models.CharField(max_length=16, choices=choices_of(KillScope))
    provider = models.ForeignKey(Provider, null=True, blank=True, on_delete=models.CASCADE)
    model = models.ForeignKey(Model, null=True, blank=True, on_delete=models.CASCADE)
    policy = models.ForeignKey(Policy, null=True, blank=True, on_delete=models.CASCADE)
    rule_name = models.CharField(
        max_length=64, blank=True, help_text="With scope rule: the rule of the policy above."
    )
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE)
    api_key = models.ForeignKey(ApiKey, null=True, blank=True, on_delete=models.CASCADE)
    end_user = models.CharField(
        max_length=255, blank=True, help_text="With scope end user: of the tenant above."
    )
    reason = models.CharField(max_length=500, help_text="Why. Shown to whoever meets the switch.")
    hard = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Also cuts the answers that are on their way, streams included.",
    )
    lift_needs_second_person = models.BooleanField(
        default=False,
        db_default=False,
        verbose_name="lifted by a second person",
        help_text="Whoever throws the switch cannot lift it.",
    )
    author_name = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="Lifts itself then; empty: until lifted."
    )
    lifted_at = models.DateTimeField(null=True, blank=True, editable=False)
    lifted_by_name = models.CharField(max_length=150, blank=True, editable=False)

    objects = KillSwitchQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "kill switches"
        permissions = (("operate_kill_switch", "Can throw and lift kill switches"),)
        indexes = (
            # Admission reads the switches that are not lifted on every batch; there are few.
            models.Index(
                fields=["scope"], condition=Q(lifted_at__isnull=True), name="kill_switch_not_lifted"
            ),
        )
        constraints = (
            models.CheckConstraint(condition=~Q(reason=""), name="kill_switch_has_reason"),
            models.CheckConstraint(
                condition=Q(scope=KillScope.EVERYTHING)
                | Q(scope=KillScope.PROVIDER, provider__isnull=False)
                | Q(scope=KillScope.MODEL, model__isnull=False)
                | Q(scope=KillScope.POLICY, policy__isnull=False)
                | (Q(scope=KillScope.RULE, policy__isnull=False) & ~Q(rule_name=""))
                | Q(scope=KillScope.TENANT, tenant__isnull=False)
                | Q(scope=KillScope.API_KEY, api_key__isnull=False)
                | (Q(scope=KillScope.END_USER, tenant__isnull=False) & ~Q(end_user="")),
                name="kill_switch_scope_names_its_subject",
                violation_error_message="Name the subject that the scope asks for.",
            ),
            models.CheckConstraint(
                condition=Q(lift_needs_second_person=False) | ~Q(lifted_by_name=F("author_name")),
                name="kill_switch_lifted_by_second_person",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_scope_display()}: {self.subject or 'all traffic'}"

    @property
    def subject(self) -> str:
        """What the switch stops, in words; empty for everything."""
        match KillScope(self.scope):
            case KillScope.EVERYTHING:
                return ""
            case KillScope.RULE:
                return f"{self.policy}/{self.rule_name}"
            case KillScope.END_USER:
                return f"{self.tenant}/{self.end_user}"
            case scope:
                return str(getattr(self, scope.value))

    @property
    def is_active(self) -> bool:
        """Whether it stops anything now."""
        return self.lifted_at is None and (self.expires_at is None or self.expires_at > timezone.now())
