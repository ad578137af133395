"""How good a model is at a task, as measured."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from policies_app.models.catalogue import Model


class QualityScore(models.Model):
    """The eval score of a model on a task's eval set: what quality conditions read. One row a model and task."""

    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="quality_scores")
    task = models.CharField(max_length=64)
    score = models.FloatField(
        validators=[MinValueValidator(0), MaxValueValidator(1)], help_text="From 0 to 1."
    )
    measured_at = models.DateTimeField(default=timezone.now)
    note = models.CharField(max_length=500, blank=True, help_text="Eval set and run that it comes from.")

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["model", "task"],
                name="quality_score_one_per_task",
                violation_error_message="This model already has a score on that task.",
            ),
            models.CheckConstraint(
                condition=models.Q(score__gte=0, score__lte=1), name="quality_score_from_0_to_1"
            ),
        )

    def __str__(self) -> str:
        return f"{self.model} on {self.task}: {self.score:g}"
