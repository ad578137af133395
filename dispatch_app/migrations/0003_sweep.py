"""The watermark of the expiry sweep."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0002_log_views")]

    operations = [migrations.RunSQL((SQL / "0003_sweep.sql").read_text(), "DROP TABLE ledger_sweep;")]
