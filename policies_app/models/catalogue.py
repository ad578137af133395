"""Providers, their credentials, models and effective-dated prices."""

from datetime import datetime
from decimal import Decimal

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from policies_app.models.choices import choices_of, wire_formats
from policies_app.routing.codes import (
    Capability,
    OutputLimitParameter,
    ReasoningControl,
    RefusedParameter,
    SystemRole,
    Tier,
    WireFormat,
)

NANOS_PER_USD = 1_000_000_000
MOST_FRAGMENT_LENGTH = 20_000
QUIRK_FIELDS = (
    "system_prefix",
    "system_suffix",
    "system_role",
    "refused_parameters",
    "output_limit_parameter",
    "reasoning_control",
    "thinks_unasked",
    "fixed_parameters",
)
"""The fields of a model's row that say what it is told otherwise than others."""


class Provider(models.Model):
    """A vendor, or a server of one's own, that answers in a known wire format."""

    name = models.SlugField(max_length=64, unique=True, help_text="Short name, shown on every dispatch.")
    wire_format = models.CharField(
        max_length=32,
        choices=wire_formats,
        default=WireFormat.OPENAI_CHAT,
        help_text="Protocol that it speaks.",
    )
    base_url = models.URLField(
        verbose_name="base URL",
        max_length=500,
        help_text="What the protocol's own paths follow: OpenAI's and Anthropic's ends with /v1, Gemini's with /v1beta,"
        " Azure's with /openai (or /openai/v1, without an API version), Bedrock's with its host. No key, query or user in it.",
    )
    api_version = models.CharField(
        verbose_name="API version",
        max_length=32,
        blank=True,
        validators=[RegexValidator(r"^[A-Za-z0-9.-]*$", "Letters, digits, dots and hyphens only.")],
        help_text="Azure's api-version (without one, models are no deployments), or Anthropic's anthropic-version"
        " (2023-06-01, if empty). Other protocols have none.",
    )
    region = models.SlugField(
        max_length=64,
        blank=True,
        help_text="What Bedrock's requests are signed for, if an access key signs them; empty for the region that the host"
        " names. Other protocols do not look at it.",
    )
    allow_private_network = models.BooleanField(
        default=False,
        help_text="Allow http and private, loopback or link-local addresses: for servers of your own only.",
    )
    enabled = models.BooleanField(default=True, help_text="Off: its models leave every plan.")
    connect_timeout_ms = models.PositiveIntegerField(
        verbose_name="connect timeout, ms", default=2_000, validators=[MinValueValidator(1)]
    )
    first_byte_timeout_ms = models.PositiveIntegerField(
        verbose_name="first byte timeout, ms",
        default=30_000,
        validators=[MinValueValidator(1)],
        help_text="From the beginning of a call, connecting included, to the reply's first byte. A model that is cold"
        " has its cold penalty in addition.",
    )
    idle_timeout_ms = models.PositiveIntegerField(
        verbose_name="idle timeout, ms",
        default=30_000,
        validators=[MinValueValidator(1)],
        help_text="Longest silence between two parts of a reply.",
    )
    bills_server_errors = models.BooleanField(
        default=False,
        help_text="On: what fails at the vendor, such as a 5xx, is charged at the worst case, because it may be billed.",
    )
    bills_after_cut = models.BooleanField(
        default=True,
        help_text="On: an answer that is cut off is charged what was reserved, because the vendor may go on and bill it"
        " to its end. Off: by what had come, for vendors that stop when the connection closes; but what may have been"
        " thought unseen, as it was reserved.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name


class Credential(models.Model):
    """What Signalbox shows a provider. The secret is sealed in the row, or named as an environment variable."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="credentials")
    label = models.CharField(max_length=64)
    weight = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1)],
        help_text="Of several credentials, each gets a share of the calls by its weight.",
    )
    environment_variable = models.CharField(
        max_length=128,
        blank=True,
        help_text="Read the secret from this variable of the web processes instead.",
    )
    sealed_secret = models.BinaryField(null=True, editable=False)
    last_four = models.CharField(max_length=4, blank=True, editable=False)
    times_mended = models.PositiveSmallIntegerField(default=0, editable=False)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["provider", "label"], name="credential_label_unique"),
            models.CheckConstraint(
                condition=Q(weight__gt=0),
                name="credential_weight_positive",
                violation_error_message="A weight is at least 1: switch a credential off instead.",
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider}/{self.label}"


class ModelQuerySet(models.QuerySet["Model"]):
    def switched_on(self) -> "ModelQuerySet":
        """Models that plans may name: they and their providers are enabled."""
        return self.filter(enabled=True, provider__enabled=True)

    def priced(self, *, at: datetime) -> "ModelQuerySet":
        """Models that have a price in force at `at`."""
        return self.filter(Exists(_prices_in_force(at)))

    def unpriced(self, *, at: datetime) -> "ModelQuerySet":
        """Models that have no price in force at `at`, and so are never called."""
        return self.exclude(Exists(_prices_in_force(at)))


class Model(models.Model):
    """One model of the fleet, as Signalbox names it."""

    name = models.SlugField(max_length=128, unique=True, help_text="What policies and logs call it.")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="models")
    wire_name = models.CharField(max_length=200, help_text="What the provider calls it.")
    tier = models.CharField(
        max_length=16, choices=choices_of(Tier), help_text="A downgrading budget caps the tier."
    )
    capabilities = ArrayField(
        models.CharField(max_length=32, choices=choices_of(Capability)),
        default=list,
        blank=True,
        help_text="A request that needs what is not ticked never goes there. With embeddings ticked, nothing else does.",
    )
    context_window_tokens = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    max_output_tokens = models.PositiveIntegerField(
        validators=[MinValueValidator(1)],
        help_text="Most that one reply can hold; also the limit sent when the caller sets none. 1 for embeddings.",
    )
    image_tokens_bound = models.PositiveIntegerField(
        default=50_000, help_text="Most input tokens that one image can count as; used to reserve money."
    )
    cold_after_s = models.PositiveIntegerField(
        verbose_name="cold after, s",
        null=True,
        blank=True,
        help_text="Idle seconds after which it must warm up again; empty for never.",
    )
    cold_penalty_ms = models.PositiveIntegerField(
        verbose_name="cold penalty, ms", default=0, help_text="What a cold start adds to its first byte."
    )
    keep_warm = models.BooleanField(
        default=False, help_text="Ping it before it goes cold, within the keep-warm budget. Pings cost money."
    )
    system_prefix = models.TextField(
        blank=True,
        max_length=MOST_FRAGMENT_LENGTH,
        help_text="What this model alone is told before the system prompt, in each request. Its tokens are paid for.",
    )
    system_suffix = models.TextField(
        blank=True,
        max_length=MOST_FRAGMENT_LENGTH,
        help_text="What this model alone is told after the system prompt, e.g. /no_think for Qwen3.",
    )
    system_role = models.CharField(
        max_length=16,
        choices=choices_of(SystemRole),
        default=SystemRole.AS_SENT,
        help_text="Who speaks the system prompt. User: it begins the next message of the user's, for models without"
        " a system role, such as Gemma.",
    )
    refused_parameters = ArrayField(
        models.CharField(max_length=32, choices=choices_of(RefusedParameter)),
        default=list,
        blank=True,
        help_text="What is ticked is left out for this model, and the caller is told in x-dispatch-dropped.",
    )
    output_limit_parameter = models.CharField(
        max_length=32,
        choices=choices_of(OutputLimitParameter),
        default=OutputLimitParameter.AUTOMATIC,
        help_text="What OpenAI's format calls the limit on the answer. Automatic: max_completion_tokens at OpenAI and"
        " Azure; elsewhere what the caller called it, else max_tokens.",
    )
    reasoning_control = models.CharField(
        max_length=16,
        choices=choices_of(ReasoningControl),
        default=ReasoningControl.AS_SENT,
        help_text="What thinking is set by. Budget: tokens, as older Claude and Gemini 2.5 take it. Effort: a word, as"
        " newer Claude and Gemini 3 take it. The caller may send either.",
    )
    thinks_unasked = models.BooleanField(
        default=False,
        help_text="On: it thinks also if nobody asks it to, and bills thoughts that are not seen, as o3 and GPT-5 do."
        " What is cut off is then charged what was reserved.",
    )
    fixed_parameters = models.JSONField(
        default=dict,
        blank=True,
        help_text="A JSON object in the vendor's own words, merged into every request, e.g."
        ' {"chat_template_kwargs": {"enable_thinking": false}}. Null takes a field away.',
    )
    enabled = models.BooleanField(default=True, help_text="Off: it leaves every plan.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ModelQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(context_window_tokens__gt=0), name="model_context_window_positive"
            ),
            models.CheckConstraint(condition=Q(max_output_tokens__gt=0), name="model_max_output_positive"),
            models.CheckConstraint(
                condition=Q(max_output_tokens__lte=F("context_window_tokens")),
                name="model_output_fits_context",
                violation_error_message="The output limit cannot exceed the context window.",
            ),
            models.CheckConstraint(
                condition=Q(capabilities=[Capability.EMBEDDINGS.value])
                | ~Q(capabilities__contains=[Capability.EMBEDDINGS.value]),
                name="model_embeds_only",
                violation_error_message="A model that gives embeddings does nothing else.",
            ),
            models.CheckConstraint(
                condition=Q(tier__in=[tier.value for tier in Tier]), name="model_tier_known"
            ),
            models.CheckConstraint(
                condition=Q(
                    system_role__in=[role.value for role in SystemRole],
                    output_limit_parameter__in=[name.value for name in OutputLimitParameter],
                    reasoning_control__in=[control.value for control in ReasoningControl],
                    refused_parameters__contained_by=[name.value for name in RefusedParameter],
                ),
                name="model_quirks_known",
            ),
        )

    def __str__(self) -> str:
        return self.name


class PriceQuerySet(models.QuerySet["Price"]):
    def in_force(self, *, at: datetime) -> "PriceQuerySet":
        """The price of each model that counts at `at`, for those that have one."""
        return (
            self.filter(effective_from__lte=at).order_by("model_id", "-effective_from").distinct("model_id")
        )


def _prices_in_force(at: datetime) -> models.QuerySet["Price"]:
    return Price.objects.filter(model=OuterRef("pk"), effective_from__lte=at)


class Price(models.Model):
    """What a model costs from an instant on. Rows are added, never edited: the log points at them.

    Amounts are nano-dollars per million tokens: 1 USD per million tokens is 1,000,000,000.
    """

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="prices")
    effective_from = models.DateTimeField(default=timezone.now)
    input_nanos = models.PositiveBigIntegerField()
    cached_input_nanos = models.PositiveBigIntegerField(
        help_text="Input tokens read from the vendor's cache."
    )
    cache_write_nanos = models.PositiveBigIntegerField(
        help_text="Input tokens written to the vendor's cache."
    )
    output_nanos = models.PositiveBigIntegerField()
    reasoning_nanos = models.PositiveBigIntegerField(
        help_text="Hidden reasoning tokens; usually the output price."
    )
    source = models.CharField(
        max_length=64,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="The catalogue that it was taken from; empty for a price made by hand.",
    )
    note = models.TextField(
        max_length=2_000,
        blank=True,
        default="",
        db_default="",
        help_text="What the amounts do not say, such as a contract's number, or what they leave out.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = PriceQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["model", "effective_from"],
                name="price_one_per_instant",
                violation_error_message="This model already has a price from that instant on.",
            ),
        )

    def __str__(self) -> str:
        return (
            f"{self.model} from {self.effective_from:%Y-%m-%d %H:%M}: {self.input_usd}/{self.output_usd} USD"
        )

    @property
    def is_hand_made(self) -> bool:
        """Whether somebody set it, rather than taking it from a catalogue."""
        return not self.source

    @property
    def input_usd(self) -> Decimal:
        """USD per million input tokens."""
        return Decimal(self.input_nanos) / NANOS_PER_USD

    @property
    def output_usd(self) -> Decimal:
        """USD per million output tokens."""
        return Decimal(self.output_nanos) / NANOS_PER_USD
