"""Validators of a draft's rule: what an answer must pass before it is accepted."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from policies_app.models.choices import choices_of
from policies_app.models.judges import Judge
from policies_app.models.policies import Rule, Step
from policies_app.routing.codes import LogprobMeasure
from policies_app.routing.validators import VALIDATOR_KINDS

VALIDATOR_CHOICES = [
    ("logprob", "Confidence by token probability"),
    ("declared_field", "Confidence that the answer declares"),
    ("agreement", "Agreement of several samples"),
    ("judge", "Judge"),
    ("json_schema", "JSON Schema"),
    ("finish_reason", "Finish reason"),
    ("length", "Length"),
    ("not_refused", "No refusal"),
    ("callable", "Registered Python callable"),
]


class Validator(models.Model):
    """One validator. Which fields count depends on the kind; they are named as in policy documents."""

    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, related_name="validators")
    kind = models.CharField(max_length=32, choices=VALIDATOR_CHOICES)
    step = models.ForeignKey(
        Step,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="validators",
        help_text="Empty: the answers of every step.",
    )

    measure = models.CharField(
        max_length=16,
        blank=True,
        choices=choices_of(LogprobMeasure),
        help_text="Mean of the tokens' probabilities, the least of them, or the mean lead over the next likely token.",
    )
    field = models.CharField(
        max_length=100,
        blank=True,
        help_text="A number in the JSON answer, such as confidence or meta.confidence.",
    )
    judge = models.ForeignKey(
        Judge,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="validators",
        help_text="Its newest version.",
    )
    at_least = models.FloatField(
        null=True, blank=True, help_text="From 0 to 1; of samples, how many must agree, this answer included."
    )
    samples = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Answers asked of the same model, this one included: 2 to 5."
    )
    schema = models.JSONField(
        null=True, blank=True, help_text="Empty: the schema that the request itself asks for."
    )
    finish_reasons = ArrayField(
        models.CharField(max_length=32),
        default=list,
        blank=True,
        help_text="One a line; empty: stop, tool_calls.",
    )
    minimum = models.PositiveIntegerField(null=True, blank=True, verbose_name="at least, characters")
    maximum = models.PositiveIntegerField(null=True, blank=True, verbose_name="at most, characters")
    name = models.CharField(
        max_length=100, blank=True, help_text="Entry point in the group signalbox.validators."
    )

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(kind__in=list(VALIDATOR_KINDS)), name="validator_kind_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.rule}: {self.get_kind_display()}"

    def get_inline_title(self) -> str:
        """What heads the row on its rule's page."""
        return self.get_kind_display()
