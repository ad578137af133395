"""How often, how much and how much at once a tenant or a key may ask, and a model is asked."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from policies_app.models.catalogue import Model
from policies_app.models.choices import choices_of
from policies_app.models.tenants import ApiKey, Tenant
from policies_app.routing.codes import RateLimitKind, RateLimitScope

MOST = 10**9


def _one_of_a_kind(subject: str) -> models.UniqueConstraint:
    return models.UniqueConstraint(
        fields=[subject, "kind"],
        name=f"rate_limit_one_of_a_kind_of_{subject}",
        violation_error_message="There is a limit of this kind already: change that one.",
    )


class RateLimit(models.Model):
    """A limit on the rate of one tenant, key or model. What is used of it stands in tables of its own, never here."""

    scope = models.CharField(
        max_length=16,
        choices=choices_of(RateLimitScope),
        help_text="A request beyond the limit of its tenant or key is refused; a model beyond its limit is passed over.",
    )
    tenant = models.ForeignKey(
        Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="rate_limits"
    )
    api_key = models.ForeignKey(
        ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="rate_limits"
    )
    model = models.ForeignKey(
        Model, null=True, blank=True, on_delete=models.CASCADE, related_name="rate_limits"
    )
    kind = models.CharField(
        max_length=32, choices=choices_of(RateLimitKind), default=RateLimitKind.REQUESTS_PER_MINUTE
    )
    limit = models.BigIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(MOST)],
        help_text="Per minute: as much may come at once after a quiet minute, and it refills evenly. "
        "To let nothing through, use a kill switch.",
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = (
            _one_of_a_kind("tenant"),
            _one_of_a_kind("api_key"),
            _one_of_a_kind("model"),
            models.CheckConstraint(condition=Q(limit__gte=1), name="rate_limit_lets_something_through"),
            models.CheckConstraint(
                condition=Q(
                    scope=RateLimitScope.TENANT,
                    tenant__isnull=False,
                    api_key__isnull=True,
                    model__isnull=True,
                )
                | Q(
                    scope=RateLimitScope.API_KEY,
                    tenant__isnull=True,
                    api_key__isnull=False,
                    model__isnull=True,
                )
                | Q(
                    scope=RateLimitScope.MODEL,
                    tenant__isnull=True,
                    api_key__isnull=True,
                    model__isnull=False,
                ),
                name="rate_limit_scope_names_its_subject",
                violation_error_message="Fill in exactly the field that the scope names, and leave the others empty.",
            ),
        )

    def __str__(self) -> str:
        return f"{self.subject}: {self.limit:,} {self.get_kind_display().lower()}"

    @property
    def subject(self) -> str:
        """Whose rate it is."""
        return str(getattr(self, self.scope))
