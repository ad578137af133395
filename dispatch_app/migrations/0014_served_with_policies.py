"""Edits of conditions, validators, judges and quality scores reach every process."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"

TABLES = ("condition", "validator", "judge", "judgeversion", "qualityscore")


class Migration(migrations.Migration):
    dependencies = [
        ("dispatch_app", "0013_fleet"),
        ("policies_app", "0004_strategies_and_judges"),
    ]

    operations = [
        migrations.RunSQL(
            (SQL / "0014_served_with_policies.sql").read_text(),
            "".join(f"DROP TRIGGER {table}_bumps_epoch ON policies_app_{table};" for table in TABLES)
            + "DROP TRIGGER judgeversion_is_immutable ON policies_app_judgeversion;",
        )
    ]
