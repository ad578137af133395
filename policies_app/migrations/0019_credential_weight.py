"""Several credentials of a provider share its calls by weight, and can be declared mended."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("policies_app", "0018_embeddings")]

    operations = [
        migrations.AddField(
            model_name="credential",
            name="weight",
            field=models.PositiveSmallIntegerField(
                default=1,
                help_text="Of several credentials, each gets a share of the calls by its weight.",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="credential",
            name="times_mended",
            field=models.PositiveSmallIntegerField(default=0, editable=False),
        ),
        migrations.AddConstraint(
            model_name="credential",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight__gt", 0)),
                name="credential_weight_positive",
                violation_error_message="A weight is at least 1: switch a credential off instead.",
            ),
        ),
    ]
