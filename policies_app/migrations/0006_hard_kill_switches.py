from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("policies_app", "0005_budget_alerts"),
    ]

    operations = [
        migrations.AddField(
            model_name="killswitch",
            name="hard",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Also cuts the answers that are on their way, streams included.",
            ),
        ),
        migrations.AddField(
            model_name="killswitch",
            name="lift_needs_second_person",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Whoever throws the switch cannot lift it.",
                verbose_name="lifted by a second person",
            ),
        ),
        migrations.AddConstraint(
            model_name="killswitch",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("lift_needs_second_person", False),
                    models.Q(("lifted_by_name", models.F("author_name")), _negated=True),
                    _connector="OR",
                ),
                name="kill_switch_lifted_by_second_person",
            ),
        ),
    ]
