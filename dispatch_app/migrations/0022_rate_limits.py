"""How far rate limits are used, and that edits of them bump the epoch."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0021_budget_raises"), ("policies_app", "0014_rate_limits")]

    operations = [
        migrations.RunSQL(
            (SQL / "0022_rate_limits.sql").read_text(),
            "DROP TRIGGER ratelimit_bumps_epoch ON policies_app_ratelimit;"
            "DROP TABLE rate_limit_slot, rate_limit_level; DROP SEQUENCE rate_limit_holder;",
        )
    ]
