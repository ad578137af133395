"""Idempotency keys, and which dispatches came with one."""

from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0017_stopped_processes")]

    operations = [
        migrations.RunSQL(
            (SQL / "0018_idempotency.sql").read_text(),
            "DROP TABLE idempotency_key; ALTER TABLE dispatch DROP COLUMN has_idempotency_key;",
            state_operations=[
                migrations.AddField("dispatch", "has_idempotency_key", models.BooleanField(default=False)),
            ],
        )
    ]
