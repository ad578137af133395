"""Tests of credentials over the management API."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from dispatch_app.credentials.connection import check_connection
from dispatch_app.credentials.states import state_of, states_in_words
from policies_app.models import Credential

__all__ = ["CredentialTestViewSet"]


class ConnectionReportSerializer(serializers.Serializer[Any]):
    """What a test came to. `words` say who answered, or why nobody did; never what the vendor said."""

    answered = serializers.BooleanField()
    words = serializers.CharField()
    model = serializers.CharField()
    latency_ms = serializers.IntegerField(allow_null=True)
    cost_nanos = serializers.IntegerField()
    dispatch_id = serializers.CharField()


class CredentialStateSerializer(serializers.Serializer[Any]):
    """How a credential fares in the processes that serve."""

    state = serializers.CharField()


class CredentialTestViewSet(viewsets.GenericViewSet[Any]):
    """What the data plane knows of credentials."""

    queryset = Credential.objects.select_related("provider")
    lookup_value_regex = "[0-9]+"
    action_permissions = {"test": "policies_app.change_credential"}

    @extend_schema(request=None, responses=ConnectionReportSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Call the cheapest model of its provider once, with this credential, whether or not it is enabled. Costs a little."""
        report = check_connection(credential=self.get_object(), author_name=request.user.get_username())
        return Response(ConnectionReportSerializer(report).data)

    @extend_schema(responses=CredentialStateSerializer)
    @action(detail=True)
    def state(self, request: Request, pk: str) -> Response:
        """How it fares at the moment."""
        credential = self.get_object()
        state = state_of(credential, states_in_words(credential.provider_id))
        return Response(CredentialStateSerializer({"state": state}).data)
