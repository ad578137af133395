"""The rollups: figures by hour, day and month, and histograms of latency."""

from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).parent / "sql"

UNMANAGED = {"managed": False, "default_permissions": ()}


def figures(bucket: str, bucket_field: models.Field) -> list[tuple[str, models.Field]]:
    key = ("tenant_id", bucket, "api_key_id", "end_user", "task", "policy_id", "model_id", "outcome")
    counts = (
        "dispatches", "attempts", "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens",
        "reasoning_tokens", "cost_nanos", "baseline_cost_nanos",
    )  # fmt: skip
    return [
        (
            "pk",
            models.CompositePrimaryKey(*key, blank=True, editable=False, primary_key=True, serialize=False),
        ),
        ("tenant_id", models.BigIntegerField()),
        ("api_key_id", models.BigIntegerField()),
        ("end_user", models.TextField()),
        ("task", models.TextField()),
        ("policy_id", models.BigIntegerField()),
        ("model_id", models.BigIntegerField()),
        ("outcome", models.TextField()),
        *((name, models.BigIntegerField()) for name in counts),
        (bucket, bucket_field),
    ]


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0003_sweep")]

    operations = [
        migrations.RunSQL(
            (SQL / "0010_rollups.sql").read_text(),
            "DROP TABLE rollup_hour, rollup_day, rollup_month, rollup_latency, rollup_dirty, rollup_watermark;"
            "DROP FUNCTION local_day;",
        ),
        migrations.CreateModel(
            name="RollupDay",
            fields=figures("day", models.DateField()),
            options={
                **UNMANAGED,
                "db_table": "rollup_day",
                "permissions": (("view_costs", "Can see the cost pages"),),
            },
        ),
        migrations.CreateModel(
            name="RollupMonth",
            fields=figures("month", models.DateField()),
            options={**UNMANAGED, "db_table": "rollup_month"},
        ),
        migrations.CreateModel(
            name="RollupLatency",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id", "hour", "policy_id", "model_id", "bucket",
                        blank=True, editable=False, primary_key=True, serialize=False,
                    ),
                ),
                ("tenant_id", models.BigIntegerField()),
                ("hour", models.DateTimeField()),
                ("day", models.DateField()),
                ("policy_id", models.BigIntegerField()),
                ("model_id", models.BigIntegerField()),
                ("bucket", models.SmallIntegerField()),
                ("dispatches", models.BigIntegerField()),
            ],
            options={**UNMANAGED, "db_table": "rollup_latency"},
        ),
    ]  # fmt: skip
