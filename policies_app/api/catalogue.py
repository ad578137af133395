"""Providers, their credentials, models and prices."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from policies_app.api.checks import StrictModelSerializer, StrictSerializer
from policies_app.api.filters import CredentialFilter, ModelFilter, PriceFilter
from policies_app.api.viewsets import AddOnlyViewSet, EditableViewSet
from policies_app.api.vocabularies import CAPABILITIES, REFUSED_PARAMETERS
from policies_app.models import Credential, Model, Price, Provider
from policies_app.models.catalogue import QUIRK_FIELDS
from policies_app.price_catalogue.types import NotPublished, PublishedModel
from policies_app.services.credentials import mend_credential, set_provider_secret
from policies_app.services.price_imports import (
    Comparison,
    Standing,
    compare_with_catalogue,
    import_price,
)
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
            "weight",
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
    action_permissions = {"mend": "policies_app.change_credential"}

    @extend_schema(request=None, responses=CredentialSerializer)
    @action(detail=True, methods=["post"])
    def mend(self, request: Request, pk: str) -> Response:
        """Its vendor takes it again: within 250 ms, no process holds anything against it any more."""
        credential = self.get_object()
        mend_credential(credential=credential, author_name=self.author_name())
        return Response(CredentialSerializer(credential, context=self.get_serializer_context()).data)

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
            *QUIRK_FIELDS,
            "enabled",
            "created_at",
        )
        read_only_fields = ("created_at",)

    def field_errors(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        return model_errors(values)


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
            "source",
            "note",
            "created_at",
        )
        read_only_fields = ("source", "created_at")


class ComparedAtSerializer(StrictSerializer):
    """From when on the published price is wanted, and whose, where the provider's address does not tell."""

    effective_from = serializers.DateTimeField(required=False, help_text="Now, if it is not given.")
    vendor = serializers.CharField(
        max_length=64, default="", allow_blank=True, help_text="As the catalogue calls it, such as openai."
    )


class TakePriceSerializer(ComparedAtSerializer):
    """What to take over, and whether a price that was made by hand may be replaced."""

    replace_hand_made = serializers.BooleanField(default=False)
    reason = serializers.CharField(
        max_length=500, default="", allow_blank=True, help_text="For the audit trail."
    )


class PublishedPriceSerializer(serializers.Serializer[PublishedModel]):
    """A published price, in nano-dollars per million tokens, and what the amounts do not say."""

    source = serializers.CharField()  # type: ignore[assignment]  # DRF takes it off the class
    vendor = serializers.CharField()
    model_id = serializers.CharField()
    input_nanos = serializers.IntegerField(source="amounts.input_nanos")
    cached_input_nanos = serializers.IntegerField(source="amounts.cached_input_nanos")
    cache_write_nanos = serializers.IntegerField(source="amounts.cache_write_nanos")
    output_nanos = serializers.IntegerField(source="amounts.output_nanos")
    reasoning_nanos = serializers.IntegerField(source="amounts.reasoning_nanos")
    notes = serializers.ListField(child=serializers.CharField())


class ComparisonSerializer(serializers.Serializer[Comparison]):
    """A price in force beside the published one. `reason` says why there is none to take."""

    standing = serializers.ChoiceField(choices=[standing.value for standing in Standing])
    in_force = PriceSerializer(allow_null=True)
    published = serializers.SerializerMethodField()
    reason = serializers.SerializerMethodField()

    @extend_schema_field(PublishedPriceSerializer(allow_null=True))
    def get_published(self, comparison: Comparison) -> dict[str, Any] | None:
        if isinstance(comparison.published, NotPublished):
            return None
        return dict(PublishedPriceSerializer(comparison.published).data)

    def get_reason(self, comparison: Comparison) -> str:
        return str(comparison.published) if isinstance(comparison.published, NotPublished) else ""


class ModelViewSet(EditableViewSet):
    """The fleet."""

    queryset = Model.objects.select_related("provider").order_by("name")
    serializer_class = ModelSerializer
    lookup_field = "name"
    filterset_class = ModelFilter
    search_fields = ("name", "wire_name")
    action_permissions = {
        "price_from_catalogue": "policies_app.view_price",
        "take_price_from_catalogue": "policies_app.add_price",
    }

    @extend_schema(parameters=[ComparedAtSerializer], responses=ComparisonSerializer)
    @action(detail=True, url_path="price-from-catalogue")
    def price_from_catalogue(self, request: Request, name: str) -> Response:
        """Tell how the price in force stands to the published one, and change nothing."""
        compared = ComparedAtSerializer(data=request.query_params)
        compared.is_valid(raise_exception=True)
        return Response(ComparisonSerializer(self._compare(compared.validated_data)).data)

    @extend_schema(request=TakePriceSerializer, responses={200: PriceSerializer, 201: PriceSerializer})
    @price_from_catalogue.mapping.post
    def take_price_from_catalogue(self, request: Request, name: str) -> Response:
        """Add the published price. One that was made by hand is replaced if you say so; 200 if nothing had to be added."""
        wanted = TakePriceSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        comparison = self._compare(wanted.validated_data)
        price = import_price(
            comparison=comparison,
            author_name=self.author_name(),
            replace_hand_made=wanted.validated_data["replace_hand_made"],
            reason=wanted.validated_data["reason"],
        )
        added = price is not None
        told = PriceSerializer(price or comparison.in_force, context=self.get_serializer_context()).data
        return Response(told, status=status.HTTP_201_CREATED if added else status.HTTP_200_OK)

    def _compare(self, wanted: Mapping[str, Any]) -> Comparison:
        (comparison,) = compare_with_catalogue(
            [self.get_object()],
            effective_from=wanted.get("effective_from"),
            vendor_id=wanted["vendor"],
        )
        return comparison


class PriceViewSet(AddOnlyViewSet):
    """Prices by the instant that they count from. Rows are added, never edited: the log points at them."""

    queryset = Price.objects.select_related("model").order_by("-effective_from", "-id")
    serializer_class = PriceSerializer
    filterset_class = PriceFilter

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        serializer.instance = set_price(**serializer.validated_data, author_name=self.author_name())
