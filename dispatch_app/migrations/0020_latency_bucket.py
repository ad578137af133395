"""A faster `latency_bucket`."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0019_waste")]

    operations = [
        migrations.RunSQL((SQL / "0020_latency_bucket.sql").read_text(), migrations.RunSQL.noop),
    ]
