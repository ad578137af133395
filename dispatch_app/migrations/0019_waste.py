"""What the gateway itself caused to be paid for."""

from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).parent / "sql"
TABLES = ("dispatch", "rollup_delta", "rollup_hour", "rollup_day", "rollup_month")


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0018_idempotency")]

    operations = [
        migrations.RunSQL(
            (SQL / "0019_waste.sql").read_text(),
            " ".join(f"ALTER TABLE {table} DROP COLUMN wasted_nanos;" for table in TABLES),
            state_operations=[
                migrations.AddField(
                    "dispatch",
                    "wasted_nanos",
                    models.BigIntegerField(
                        default=0,
                        help_text="The part of the cost that Signalbox itself caused beside the answer.",
                    ),
                ),
                migrations.AddField("rollupday", "wasted_nanos", models.BigIntegerField(default=0)),
                migrations.AddField("rollupmonth", "wasted_nanos", models.BigIntegerField(default=0)),
            ],
        )
    ]
