from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0016_reconciliation")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE process_load ADD COLUMN is_stopped boolean NOT NULL DEFAULT false;",
            "ALTER TABLE process_load DROP COLUMN is_stopped;",
        ),
    ]
