"""The dispatch log, the budgets' balances and the rollup deltas, as plain SQL."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    initial = True

    dependencies = [("policies_app", "0001_initial")]

    operations = [
        migrations.RunSQL(
            (SQL / "0001_log.sql").read_text(),
            "DROP TABLE rollup_delta, budget_balance, attempt, dispatch CASCADE;"
            "DROP FUNCTION create_log_partitions, latency_bucket;",
        ),
        migrations.RunSQL(
            (SQL / "0002_control_epoch.sql").read_text(),
            "DROP TABLE serving_process, control_epoch CASCADE;"
            "DROP FUNCTION bump_control_epoch, close_kill_gate, refuse_change CASCADE;",
        ),
    ]
