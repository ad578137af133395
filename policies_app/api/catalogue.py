"""Providers, their credentials, models and prices."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from rest_framework import mixins, serializers

from policies_app.api.checks import StrictModelSerializer
from policies_app.api.filters import CredentialFilter, ModelFilter, PriceFilter
from policies_app.api.viewsets import AddOnlyViewSet, EditableViewSet
from policies_app.api.vocabularies import CAPABILITIES, REFUSED_PARAMETERS
from policies_app.models import Credential, Model, Price, Provider
from policies_app.services.credentials import set_provider_secret
from policies_app.services.prices import set_price
from policies_app.validation import model_errors


class ProviderSerializer(StrictModelSerializer):
    class Meta:
        model = Provider
        fields = (
            "name",
            "wire_format",
            "base_url",
            "api_version",
            "region",
            "allow_private_network",
            "enabled",
            "connect_timeout_ms",
            "first_byte_timeout_ms",
            "idle_timeout_ms",
            "bills_server_errors",
            "bills_after_cut",
            "created_at",
        )
        read_only_fields = ("created_at",)


class ProviderViewSet(EditableViewSet):
    """Vendors, and servers of one's own."""

    queryset = Provider.objects.order_by("name")
    serializer_class = ProviderSerializer
    lookup_field = "name"
    filterset_fields = ("enabled", "wire_format")
    search_fields = ("name", "base_url")


class CredentialSerializer(StrictModelSerializer):
    """The secret goes in and never comes out: its last four characters tell which one it is."""

    provider = serializers.SlugRelatedField(slug_field="name", queryset=Provider.objects.all())
    secret = serializers.CharField(write_only=True, required=False, max_length=4096)
    has_secret = serializers.SerializerMethodField()

    class Meta:
        model = Credential
        fields = (
            "id",
            "provider",
            "label",
            "secret",
            "has_secret",
            "last_four",
            "environment_variable",
            "enabled",
            "created_at",
        )
        read_only_fields = ("last_four", "created_at")

    def get_has_secret(self, credential: Credential) -> bool:
        return credential.sealed_secret is not None

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        is_sealed = self.instance is not None and self.instance.sealed_secret is not None
        if values.get("secret") or values.get("environment_variable") or is_sealed:
            return {}
        return {"secret": "Give the secret, or the environment variable that holds it."}


class CredentialViewSet(EditableViewSet, mixins.DestroyModelMixin):
    """What Signalbox shows its providers."""

    queryset = Credential.objects.select_related("provider").order_by("provider__name", "label")
    serializer_class = CredentialSerializer
    filterset_class = CredentialFilter

    @transaction.atomic
    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        secret = serializer.validated_data.pop("secret", "")
        super().perform_create(serializer)
        self._seal(serializer.instance, secret)

    @transaction.atomic
    def perform_update(self, serializer: serializers.BaseSerializer[Any]) -> None:
        secret = serializer.validated_data.pop("secret", "")
        super().perform_update(serializer)
        self._seal(serializer.instance, secret)

    def _seal(self, credential: Any, secret: str) -> None:
        if secret:
            set_provider_secret(credential=credential, secret=secret, author_name=self.author_name())


class CodesField(serializers.MultipleChoiceField):
    """Some of a closed set, always in the same order."""

    def to_internal_value(self, data: Any) -> list[str]:  # type: ignore[override]
        chosen = super().to_internal_value(data)
        return [code for code in self.choices if code in chosen]

    def to_representation(self, value: Any) -> list[str]:  # type: ignore[override]
        return list(value)


class CapabilitiesField(CodesField):
    """Some of the capabilities."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=CAPABILITIES, **options)


class ModelSerializer(StrictModelSerializer):
    provider = serializers.SlugRelatedField(slug_field="name", queryset=Provider.objects.all())
    capabilities = CapabilitiesField(required=False)
    refused_parameters = CodesField(choices=REFUSED_PARAMETERS, required=False)

    class Meta:
        model = Model
        fields = (
            "name",
            "provider",
            "wire_name",
            "tier",
            "capabilities",
            "context_window_tokens",
            "max_output_tokens",
            "image_tokens_bound",
            "cold_after_s",
            "cold_penalty_ms",
            "keep_warm",
            "system_prefix",
            "system_suffix",
            "system_role",
            "refused_parameters",
            "output_limit_parameter",
            "reasoning_control",
            "thinks_unasked",
            "fixed_parameters",
            "enabled",
            "created_at",
        )
        read_only_fields = ("created_at",)

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        return model_errors(values)


class ModelViewSet(EditableViewSet):
    """The fleet."""

    queryset = Model.objects.select_related("provider").order_by("name")
    serializer_class = ModelSerializer
    lookup_field = "name"
    filterset_class = ModelFilter
    search_fields = ("name", "wire_name")


class PriceSerializer(StrictModelSerializer):
    """Amounts are nano-dollars per million tokens: 1 USD per million tokens is 1,000,000,000."""

    model = serializers.SlugRelatedField(slug_field="name", queryset=Model.objects.all())

    class Meta:
        model = Price
        fields = (
            "id",
            "model",
            "effective_from",
            "input_nanos",
            "cached_input_nanos",
            "cache_write_nanos",
            "output_nanos",
            "reasoning_nanos",
            "created_at",
        )
        read_only_fields = ("created_at",)


class PriceViewSet(AddOnlyViewSet):
    """Prices by the instant that they count from. Rows are added, never edited: the log points at them."""

    queryset = Price.objects.select_related("model").order_by("-effective_from", "-id")
    serializer_class = PriceSerializer
    filterset_class = PriceFilter

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        serializer.instance = set_price(**serializer.validated_data, author_name=self.author_name())
