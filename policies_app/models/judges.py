"""Judges: models that rate answers by a rubric. Every edit is a version of its own."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from policies_app.models.catalogue import Model

DEFAULT_INSTRUCTIONS = (
    "You are a careful judge of answers that language models gave. You rate what is in front of you by the rubric, and "
    "nothing else. Length and politeness alone are no merit."
)


class Judge(models.Model):
    """A judge as policies name it. What it does stands in its versions; drafts use the newest."""

    name = models.SlugField(max_length=64, unique=True, help_text="What rules call it, e.g. helpfulness.")
    description = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name


class JudgeVersion(models.Model):
    """One version of a judge. Immutable: a database trigger refuses updates and deletes."""

    judge = models.ForeignKey(Judge, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(editable=False)
    model = models.ForeignKey(
        Model, on_delete=models.PROTECT, related_name="judges", help_text="Who rates. Its calls are paid for."
    )
    instructions = models.TextField(
        max_length=4_000, default=DEFAULT_INSTRUCTIONS, help_text="What the model is told of its task."
    )
    rubric = models.TextField(
        max_length=8_000, help_text="What makes an answer good, and what each end of the scale means."
    )
    lowest = models.FloatField(default=0, help_text="The scale's lower end.")
    highest = models.FloatField(default=10, help_text="The scale's upper end.")
    verdicts = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text="Words instead of numbers, one word=score a line, such as good=1 and poor=0.2.",
    )
    default = models.FloatField(
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="What counts when the reply is no score, from 0 to 1. 0 accepts nothing by mistake.",
    )
    timeout_ms = models.PositiveIntegerField(
        verbose_name="timeout, ms", default=10_000, validators=[MinValueValidator(1)]
    )
    max_output_tokens = models.PositiveIntegerField(
        default=16, validators=[MinValueValidator(1)], help_text="A number or a word needs few."
    )
    note = models.CharField(max_length=500, blank=True, help_text="What this version changes.")
    author_name = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["judge", "number"], name="judge_version_number_unique"),
            models.CheckConstraint(
                condition=Q(lowest__lte=F("highest")),
                name="judge_scale_ordered",
                violation_error_message="The scale's lower end exceeds its upper end.",
            ),
            models.CheckConstraint(
                condition=Q(default__gte=0, default__lte=1), name="judge_default_is_a_score"
            ),
        )

    def __str__(self) -> str:
        return f"{self.judge} v{self.number}"
