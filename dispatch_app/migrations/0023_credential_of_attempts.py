"""Which credential each attempt was made with."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0022_rate_limits")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE attempt ADD COLUMN credential text NOT NULL DEFAULT ''",
            "ALTER TABLE attempt DROP COLUMN credential",
            state_operations=[
                migrations.AddField(
                    "attempt",
                    "credential",
                    models.TextField(
                        default="",
                        help_text="Label and last four characters of what the provider was called with.",
                    ),
                ),
            ],
        )
    ]
