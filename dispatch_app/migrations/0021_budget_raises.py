"""Raises of budgets reach every process."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("dispatch_app", "0020_latency_bucket"), ("policies_app", "0010_budget_raises")]

    operations = [
        migrations.RunSQL(
            "CREATE TRIGGER budgetraise_bumps_epoch AFTER INSERT OR UPDATE OR DELETE ON policies_app_budgetraise"
            " FOR EACH STATEMENT EXECUTE FUNCTION bump_control_epoch()",
            "DROP TRIGGER budgetraise_bumps_epoch ON policies_app_budgetraise",
        )
    ]
