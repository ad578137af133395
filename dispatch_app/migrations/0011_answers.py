"""Which answer a dispatch gave, and what its validators found."""

from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0010_rollups")]

    operations = [
        migrations.RunSQL(
            (SQL / "0011_answers.sql").read_text(),
            "ALTER TABLE dispatch DROP COLUMN answered_by, DROP COLUMN validated;"
            "ALTER TABLE attempt DROP COLUMN validation;",
            state_operations=[
                migrations.AddField("dispatch", "answered_by", models.SmallIntegerField(null=True)),
                migrations.AddField("dispatch", "validated", models.BooleanField(null=True)),
                migrations.AddField("attempt", "validation", models.JSONField(default=list)),
            ],
        )
    ]
