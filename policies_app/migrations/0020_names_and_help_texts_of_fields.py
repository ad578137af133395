"""Fields are called and explained as people read them, and what a provider's say is true of every wire format."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("policies_app", "0019_credential_weight"),
    ]

    operations = [
        migrations.AlterField(
            model_name="judgeversion",
            name="timeout_ms",
            field=models.PositiveIntegerField(
                default=10000,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="timeout, ms",
            ),
        ),
        migrations.AlterField(
            model_name="model",
            name="cold_after_s",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Idle seconds after which it must warm up again; empty for never.",
                null=True,
                verbose_name="cold after, s",
            ),
        ),
        migrations.AlterField(
            model_name="model",
            name="cold_penalty_ms",
            field=models.PositiveIntegerField(
                default=0,
                help_text="What a cold start adds to its first byte.",
                verbose_name="cold penalty, ms",
            ),
        ),
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
                verbose_name="API version",
            ),
        ),
        migrations.AlterField(
            model_name="provider",
            name="base_url",
            field=models.URLField(
                help_text="What the protocol's own paths follow: OpenAI's and Anthropic's ends with /v1, Gemini's with /v1beta, Azure's with /openai (or /openai/v1, without an API version), Bedrock's with its host. No key, query or user in it.",
                max_length=500,
                verbose_name="base URL",
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
            name="connect_timeout_ms",
            field=models.PositiveIntegerField(
                default=2000,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="connect timeout, ms",
            ),
        ),
        migrations.AlterField(
            model_name="provider",
            name="first_byte_timeout_ms",
            field=models.PositiveIntegerField(
                default=30000,
                help_text="From the beginning of a call, connecting included, to the reply's first byte. A model that is cold has its cold penalty in addition.",
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="first byte timeout, ms",
            ),
        ),
        migrations.AlterField(
            model_name="provider",
            name="idle_timeout_ms",
            field=models.PositiveIntegerField(
                default=30000,
                help_text="Longest silence between two parts of a reply.",
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="idle timeout, ms",
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
        migrations.AlterField(
            model_name="rule",
            name="deadline_ms",
            field=models.PositiveIntegerField(
                default=60000,
                help_text="For the whole dispatch, all attempts together.",
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="deadline, ms",
            ),
        ),
        migrations.AlterField(
            model_name="rule",
            name="drain_ms",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="When a client hangs up, its answer is read on for so long, and costs what the vendor counts in the end; empty: it is cut at once, and costs what was reserved where the vendor may bill it to its end.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="drain, ms",
            ),
        ),
        migrations.AlterField(
            model_name="rule",
            name="hedge_delay_ms",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Least silence before the second step is asked. The first one's learned p95 counts where it is longer; empty: only what was learned.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="hedge delay, ms",
            ),
        ),
        migrations.AlterField(
            model_name="rule",
            name="patience_ms",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="How long to wait for the other answers once one is there; empty: until the deadline.",
                null=True,
                verbose_name="patience, ms",
            ),
        ),
        migrations.AlterField(
            model_name="step",
            name="timeout_ms",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="For one attempt here; empty: the rule's deadline.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="timeout, ms",
            ),
        ),
    ]
