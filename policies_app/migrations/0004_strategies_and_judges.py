"""Conditions, validators, judges and quality scores; what the strategies need of rules and steps."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import policies_app.routing.codes


class Migration(migrations.Migration):
    dependencies = [
        ("policies_app", "0003_model_keep_warm"),
    ]

    operations = [
        migrations.CreateModel(
            name="Judge",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.SlugField(
                        help_text="What rules call it, e.g. helpfulness.", max_length=64, unique=True
                    ),
                ),
                ("description", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
        ),
        migrations.AddField(
            model_name="provider",
            name="region",
            field=models.SlugField(
                blank=True,
                help_text="Where it runs, if the vendor has several: told apart when one fails.",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="continue_broken_streams",
            field=models.BooleanField(
                default=False,
                help_text="The next step carries on a stream that broke off after it had begun to reach the client.",
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="fall_back_on_long_context",
            field=models.BooleanField(
                default=False,
                help_text="A prompt that a vendor finds too long goes on to the next step instead of back to the client.",
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="hedge_delay_ms",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Least silence before the second step is asked. The first one's learned p95 counts where it is longer; empty: only what was learned.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="max_cost_nanos",
            field=models.PositiveBigIntegerField(
                blank=True,
                help_text="For the whole dispatch, all attempts together; empty: the budgets alone bound it.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="patience_ms",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="How long to wait for the other answers once one is there; empty: until the deadline.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="pick",
            field=models.CharField(
                choices=[
                    ("first_valid", "First valid"),
                    ("highest_confidence", "Highest confidence"),
                    ("longest_agreeing", "Longest agreeing"),
                    ("weighted", "Weighted"),
                    ("judge", "Judge"),
                ],
                default=policies_app.routing.codes.Pick["FIRST_VALID"],
                help_text="Which of the valid answers is given.",
                max_length=32,
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="when_none_passes",
            field=models.CharField(
                choices=[("return_last", "Return last"), ("fail", "Fail")],
                default=policies_app.routing.codes.WhenNonePasses["RETURN_LAST"],
                help_text="If no answer passes its validators: give the last one, marked as such, or fail.",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="step",
            name="weight",
            field=models.PositiveSmallIntegerField(
                default=1, help_text="Ranks the answer where the greatest weight is picked."
            ),
        ),
        migrations.AlterField(
            model_name="rule",
            name="strategy",
            field=models.CharField(
                choices=[
                    ("single", "Single"),
                    ("failover", "Failover"),
                    ("cascade", "Cascade"),
                    ("parallel", "Parallel"),
                    ("hedged", "Hedged"),
                ],
                default=policies_app.routing.codes.Strategy["FAILOVER"],
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="rule",
            name="judge",
            field=models.ForeignKey(
                blank=True,
                help_text="Who picks, where a judge does: its newest version.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="rules",
                to="policies_app.judge",
            ),
        ),
        migrations.CreateModel(
            name="Condition",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
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
                        ],
                        max_length=32,
                    ),
                ),
                (
                    "measure",
                    models.CharField(
                        blank=True,
                        choices=[("first_byte", "First byte"), ("total", "Total")],
                        help_text="Time to the first byte, or in all.",
                        max_length=16,
                    ),
                ),
                (
                    "percentile",
                    models.PositiveSmallIntegerField(
                        blank=True, choices=[(50, "p50"), (95, "p95"), (99, "p99")], null=True
                    ),
                ),
                (
                    "above_ms",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Holds while the figure is above this.",
                        null=True,
                        verbose_name="above, ms",
                    ),
                ),
                (
                    "window_s",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Over the last 30 to 3600 seconds; empty: 300.",
                        null=True,
                        verbose_name="window, s",
                    ),
                ),
                (
                    "least_samples",
                    models.PositiveIntegerField(
                        blank=True, help_text="Calls that it takes to tell; empty: 20.", null=True
                    ),
                ),
                (
                    "hysteresis_pct",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Once it holds, until the figure is so far below; empty: 10.",
                        null=True,
                        verbose_name="hysteresis, %",
                    ),
                ),
                (
                    "task",
                    models.CharField(blank=True, help_text="Empty: the request's own task.", max_length=64),
                ),
                (
                    "score_min",
                    models.FloatField(
                        blank=True, help_text="From 0 to 1.", null=True, verbose_name="score, at least"
                    ),
                ),
                (
                    "providers",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64),
                        blank=True,
                        default=list,
                        help_text="Any of these providers.",
                        size=None,
                    ),
                ),
                (
                    "weekdays",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("monday", "Monday"),
                                ("tuesday", "Tuesday"),
                                ("wednesday", "Wednesday"),
                                ("thursday", "Thursday"),
                                ("friday", "Friday"),
                                ("saturday", "Saturday"),
                                ("sunday", "Sunday"),
                            ],
                            max_length=16,
                        ),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                ("starts", models.CharField(blank=True, help_text="As HH:MM.", max_length=5)),
                (
                    "ends",
                    models.CharField(
                        blank=True,
                        help_text="As HH:MM. Before the start: past midnight, on the day it started.",
                        max_length=5,
                    ),
                ),
                (
                    "zone",
                    models.CharField(
                        blank=True, help_text="Time zone, such as Europe/Berlin.", max_length=64
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        blank=True,
                        help_text="Shares of one name are nested: a canary that grows keeps its users.",
                        max_length=64,
                    ),
                ),
                (
                    "percent",
                    models.FloatField(
                        blank=True, help_text="Percent of the traffic, such as 5 or 0.5.", null=True
                    ),
                ),
                (
                    "sticky_by",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("end_user", "End user"),
                            ("api_key", "Api key"),
                            ("tenant", "Tenant"),
                            ("dispatch", "Dispatch"),
                        ],
                        help_text="Who stays in or out; empty: end user.",
                        max_length=16,
                    ),
                ),
                (
                    "scope",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("tenant", "Tenant"),
                            ("end_user", "End user"),
                            ("api_key", "Api key"),
                            ("policy", "Policy"),
                        ],
                        help_text="Which budget is looked at.",
                        max_length=16,
                    ),
                ),
                (
                    "used_pct_min",
                    models.PositiveSmallIntegerField(
                        blank=True, null=True, verbose_name="used to at least, %"
                    ),
                ),
                (
                    "projected_pct_min",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Of the limit, at the period's end; empty: 100.",
                        null=True,
                        verbose_name="on course for at least, %",
                    ),
                ),
                (
                    "tasks",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64), blank=True, default=list, size=None
                    ),
                ),
                (
                    "tenants",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64), blank=True, default=list, size=None
                    ),
                ),
                (
                    "api_keys",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64),
                        blank=True,
                        default=list,
                        help_text="Public ids, one a line.",
                        size=None,
                    ),
                ),
                (
                    "end_users",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=255), blank=True, default=list, size=None
                    ),
                ),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=300),
                        blank=True,
                        default=list,
                        help_text="One key=value a line.",
                        size=None,
                    ),
                ),
                (
                    "minimum",
                    models.PositiveIntegerField(blank=True, null=True, verbose_name="at least, tokens"),
                ),
                (
                    "maximum",
                    models.PositiveIntegerField(blank=True, null=True, verbose_name="at most, tokens"),
                ),
                (
                    "capabilities",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("tools", "Tools"),
                                ("json_schema", "Json schema"),
                                ("vision", "Vision"),
                                ("streaming", "Streaming"),
                                ("logprobs", "Logprobs"),
                            ],
                            max_length=32,
                        ),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "models",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=128),
                        blank=True,
                        default=list,
                        help_text="Any of these models.",
                        size=None,
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        blank=True,
                        help_text="Whose figure counts.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="policies_app.model",
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="conditions",
                        to="policies_app.rule",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "kind__in",
                                [
                                    "task",
                                    "tenant",
                                    "api_key",
                                    "end_user",
                                    "tags",
                                    "input_tokens",
                                    "output_tokens",
                                    "needs",
                                    "budget_used",
                                    "budget_forecast",
                                    "latency",
                                    "quality",
                                    "health",
                                    "time",
                                    "share",
                                ],
                            )
                        ),
                        name="condition_kind_known",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="JudgeVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveIntegerField(editable=False)),
                (
                    "instructions",
                    models.TextField(
                        default="You are a careful judge of answers that language models gave. You rate what is in front of you by the rubric, and nothing else. Length and politeness alone are no merit.",
                        help_text="What the model is told of its task.",
                        max_length=4000,
                    ),
                ),
                (
                    "rubric",
                    models.TextField(
                        help_text="What makes an answer good, and what each end of the scale means.",
                        max_length=8000,
                    ),
                ),
                ("lowest", models.FloatField(default=0, help_text="The scale's lower end.")),
                ("highest", models.FloatField(default=10, help_text="The scale's upper end.")),
                (
                    "verdicts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        blank=True,
                        default=list,
                        help_text="Words instead of numbers, one word=score a line, such as good=1 and poor=0.2.",
                        size=None,
                    ),
                ),
                (
                    "default",
                    models.FloatField(
                        default=0,
                        help_text="What counts when the reply is no score, from 0 to 1. 0 accepts nothing by mistake.",
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(1),
                        ],
                    ),
                ),
                (
                    "timeout_ms",
                    models.PositiveIntegerField(
                        default=10000, validators=[django.core.validators.MinValueValidator(1)]
                    ),
                ),
                (
                    "max_output_tokens",
                    models.PositiveIntegerField(
                        default=16,
                        help_text="A number or a word needs few.",
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "note",
                    models.CharField(blank=True, help_text="What this version changes.", max_length=500),
                ),
                ("author_name", models.CharField(editable=False, max_length=150)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "judge",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="versions",
                        to="policies_app.judge",
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        help_text="Who rates. Its calls are paid for.",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="judges",
                        to="policies_app.model",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("judge", "number"), name="judge_version_number_unique"),
                    models.CheckConstraint(
                        condition=models.Q(("lowest__lte", models.F("highest"))),
                        name="judge_scale_ordered",
                        violation_error_message="The scale's lower end exceeds its upper end.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("default__gte", 0), ("default__lte", 1)),
                        name="judge_default_is_a_score",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="QualityScore",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("task", models.CharField(max_length=64)),
                (
                    "score",
                    models.FloatField(
                        help_text="From 0 to 1.",
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(1),
                        ],
                    ),
                ),
                ("measured_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "note",
                    models.CharField(
                        blank=True, help_text="Eval set and run that it comes from.", max_length=500
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="quality_scores",
                        to="policies_app.model",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("model", "task"),
                        name="quality_score_one_per_task",
                        violation_error_message="This model already has a score on that task.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("score__gte", 0), ("score__lte", 1)),
                        name="quality_score_from_0_to_1",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Validator",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("logprob", "Confidence by token probability"),
                            ("declared_field", "Confidence that the answer declares"),
                            ("agreement", "Agreement of several samples"),
                            ("judge", "Judge"),
                            ("json_schema", "JSON Schema"),
                            ("finish_reason", "Finish reason"),
                            ("length", "Length"),
                            ("not_refused", "No refusal"),
                            ("callable", "Registered Python callable"),
                        ],
                        max_length=32,
                    ),
                ),
                (
                    "measure",
                    models.CharField(
                        blank=True,
                        choices=[("mean", "Mean"), ("minimum", "Minimum"), ("margin", "Margin")],
                        help_text="Mean of the tokens' probabilities, the least of them, or the mean lead over the next likely token.",
                        max_length=16,
                    ),
                ),
                (
                    "field",
                    models.CharField(
                        blank=True,
                        help_text="A number in the JSON answer, such as confidence or meta.confidence.",
                        max_length=100,
                    ),
                ),
                (
                    "at_least",
                    models.FloatField(
                        blank=True,
                        help_text="From 0 to 1; of samples, how many must agree, this answer included.",
                        null=True,
                    ),
                ),
                (
                    "samples",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Answers asked of the same model, this one included: 2 to 5.",
                        null=True,
                    ),
                ),
                (
                    "schema",
                    models.JSONField(
                        blank=True, help_text="Empty: the schema that the request itself asks for.", null=True
                    ),
                ),
                (
                    "finish_reasons",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=32),
                        blank=True,
                        default=list,
                        help_text="One a line; empty: stop, tool_calls.",
                        size=None,
                    ),
                ),
                (
                    "minimum",
                    models.PositiveIntegerField(blank=True, null=True, verbose_name="at least, characters"),
                ),
                (
                    "maximum",
                    models.PositiveIntegerField(blank=True, null=True, verbose_name="at most, characters"),
                ),
                (
                    "name",
                    models.CharField(
                        blank=True, help_text="Entry point in the group signalbox.validators.", max_length=100
                    ),
                ),
                (
                    "judge",
                    models.ForeignKey(
                        blank=True,
                        help_text="Its newest version.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="validators",
                        to="policies_app.judge",
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="validators",
                        to="policies_app.rule",
                    ),
                ),
                (
                    "step",
                    models.ForeignKey(
                        blank=True,
                        help_text="Empty: the answers of every step.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="validators",
                        to="policies_app.step",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "kind__in",
                                [
                                    "json_schema",
                                    "logprob",
                                    "declared_field",
                                    "agreement",
                                    "finish_reason",
                                    "length",
                                    "not_refused",
                                    "judge",
                                    "callable",
                                ],
                            )
                        ),
                        name="validator_kind_known",
                    )
                ],
            },
        ),
    ]
