from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("policies_app", "0002_audit_trail")]

    operations = [
        migrations.AddField(
            model_name="model",
            name="keep_warm",
            field=models.BooleanField(
                default=False,
                help_text="Ping it before it goes cold, within the keep-warm budget. Pings cost money.",
            ),
        )
    ]
