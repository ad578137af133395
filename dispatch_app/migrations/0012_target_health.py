"""How targets fare, as the processes say, and what they count."""

from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0011_answers")]

    operations = [
        migrations.RunSQL(
            (SQL / "0012_target_health.sql").read_text(),
            "DROP TABLE target_health, process_load, metric_count;",
        ),
        migrations.CreateModel(
            name="TargetHealth",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "process_id", "provider_id", "credential", "model_id", "region",
                        blank=True, editable=False, primary_key=True, serialize=False,
                    ),
                ),
                ("process_id", models.UUIDField()),
                ("provider_id", models.BigIntegerField()),
                ("credential", models.TextField()),
                ("model_id", models.BigIntegerField()),
                ("region", models.TextField()),
                ("provider", models.TextField()),
                ("model", models.TextField()),
                ("state", models.TextField()),
                ("cause", models.TextField()),
                ("since", models.DateTimeField(null=True)),
                ("until", models.DateTimeField(null=True)),
                ("is_learned", models.BooleanField()),
                ("is_being_probed", models.BooleanField()),
                ("provider_is_degraded", models.BooleanField()),
                ("consecutive_failures", models.IntegerField()),
                ("window_calls", models.IntegerField()),
                ("window_failures", models.IntegerField()),
                ("calls", models.IntegerField()),
                ("failures", models.IntegerField()),
                ("last_fault", models.TextField()),
                ("last_wire_status", models.SmallIntegerField(null=True)),
                ("shared_cause", models.TextField()),
                ("shared_until", models.DateTimeField(null=True)),
                ("seen_at", models.DateTimeField()),
            ],
            options={"db_table": "target_health", "managed": False, "default_permissions": ("view",)},
        ),
        migrations.CreateModel(
            name="ProcessLoad",
            fields=[
                ("process_id", models.UUIDField(primary_key=True, serialize=False)),
                ("in_flight", models.IntegerField()),
                ("retries_left", models.IntegerField()),
                ("hedges_left", models.IntegerField()),
                ("seen_at", models.DateTimeField()),
            ],
            options={"db_table": "process_load", "managed": False, "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="MetricCount",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "metric", "model_id", "label",
                        blank=True, editable=False, primary_key=True, serialize=False,
                    ),
                ),
                ("metric", models.TextField()),
                ("model_id", models.BigIntegerField()),
                ("label", models.TextField()),
                ("value", models.BigIntegerField()),
            ],
            options={"db_table": "metric_count", "managed": False, "default_permissions": ()},
        ),
    ]  # fmt: skip
