"""Budgets downgrade in steps, one for each tier that is not the highest."""

import django.core.validators
from django.db import migrations, models

import policies_app.routing.codes

AS_STEPS = """
UPDATE policies_app_budget
   SET mid_from_pct = CASE WHEN downgrade_to_tier = 'mid' THEN downgrade_at_pct END,
       small_from_pct = CASE WHEN downgrade_to_tier = 'small' THEN downgrade_at_pct END
"""
AS_ONE = """
UPDATE policies_app_budget
   SET downgrade_to_tier = CASE WHEN small_from_pct IS NULL THEN 'mid' ELSE 'small' END,
       downgrade_at_pct = coalesce(small_from_pct, mid_from_pct, 80)
"""


class Migration(migrations.Migration):
    dependencies = [("policies_app", "0010_budget_raises")]

    operations = [
        migrations.AddField(
            "budget",
            "mid_from_pct",
            models.PositiveSmallIntegerField(
                null=True,
                blank=True,
                validators=[django.core.validators.MaxValueValidator(100)],
                verbose_name="mid at most, from",
                help_text="Percent of the limit from which on no model above the tier mid is asked. Empty: never.",
            ),
        ),
        migrations.AddField(
            "budget",
            "small_from_pct",
            models.PositiveSmallIntegerField(
                null=True,
                blank=True,
                default=80,
                validators=[django.core.validators.MaxValueValidator(100)],
                verbose_name="small only, from",
                help_text="Percent of the limit from which on only models of the tier small are asked. Empty: never. Free models always are.",
            ),
        ),
        migrations.RunSQL(AS_STEPS, AS_ONE),
        migrations.RemoveField("budget", "downgrade_at_pct"),
        migrations.RemoveField("budget", "downgrade_to_tier"),
        migrations.AlterField(
            model_name="budget",
            name="action",
            field=models.CharField(
                choices=[("reject", "Reject"), ("downgrade", "Downgrade"), ("alert", "Alert")],
                default=policies_app.routing.codes.BudgetAction["REJECT"],
                help_text="Reject: refuse what does not fit. Downgrade: smaller models from the thresholds on, then refuse. Alert: never refuse.",
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("mid_from_pct__isnull", True),
                    ("small_from_pct__isnull", True),
                    ("mid_from_pct__lt", models.F("small_from_pct")),
                    _connector="OR",
                ),
                name="budget_downgrades_step_by_step",
                violation_error_message="The step down to mid-size models has to come before the one to small ones.",
            ),
        ),
    ]
