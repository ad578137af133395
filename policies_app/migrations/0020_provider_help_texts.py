"""What the fields of a provider say of themselves is true of every wire format."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("policies_app", "0019_credential_weight"),
    ]

    operations = [
        migrations.AlterField(
            model_name="provider",
            name="api_version",
            field=models.CharField(
                blank=True,
                help_text="Azure's api-version (without one, models are no deployments), or Anthropic's anthropic-version (2023-06-01, if empty). Other protocols have none.",
                max_length=32,
                validators=[
                    django.core.validators.RegexValidator(
                        "^[A-Za-z0-9.-]*$", "Letters, digits, dots and hyphens only."
                    )
                ],
            ),
        ),
        migrations.AlterField(
            model_name="provider",
            name="base_url",
            field=models.URLField(
                help_text="What the protocol's own paths follow: OpenAI's and Anthropic's ends with /v1, Gemini's with /v1beta, Azure's with /openai (or /openai/v1, without an API version), Bedrock's with its host. No key, query or user in it.",
                max_length=500,
            ),
        ),
        migrations.AlterField(
            model_name="provider",
            name="bills_after_cut",
            field=models.BooleanField(
                default=True,
                help_text="On: an answer that is cut off is charged what was reserved, because the vendor may go on and bill it to its end. Off: by what had come, for vendors that stop when the connection closes; but what may have been thought unseen, as it was reserved.",
            ),
        ),
        migrations.AlterField(
            model_name="provider",
            name="bills_server_errors",
            field=models.BooleanField(
                default=False,
                help_text="On: what fails at the vendor, such as a 5xx, is charged at the worst case, because it may be billed.",
            ),
        ),
        migrations.AlterField(
            model_name="provider",
            name="first_byte_timeout_ms",
            field=models.PositiveIntegerField(
                default=30000,
                help_text="From the beginning of a call, connecting included, to the reply's first byte. A model that is cold has its cold penalty in addition.",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AlterField(
            model_name="provider",
            name="region",
            field=models.SlugField(
                blank=True,
                help_text="What Bedrock's requests are signed for, if an access key signs them; empty for the region that the host names. Other protocols do not look at it.",
                max_length=64,
            ),
        ),
    ]
