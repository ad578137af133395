"""What the processes that serve tell each other of the fleet."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0012_target_health")]

    operations = [
        migrations.RunSQL(
            (SQL / "0013_fleet.sql").read_text(), "DROP TABLE fleet_latency, fleet_warmth, fleet_signal;"
        )
    ]
