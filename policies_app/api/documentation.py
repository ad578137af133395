"""The API's own description: the schema for whoever may call, the page about it for staff in a browser."""

from django.contrib.admin.views.decorators import staff_member_required
from django.utils.decorators import method_decorator
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from knox.auth import TokenAuthentication
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAdminUser


class SchemaView(SpectacularAPIView):
    """The OpenAPI schema. The one call that a browser session may make, because it changes nothing."""

    authentication_classes = (TokenAuthentication, SessionAuthentication)
    permission_classes = (IsAdminUser,)


@method_decorator(staff_member_required(login_url="admin:login"), name="dispatch")
class DocumentationPage(SpectacularSwaggerView):
    """The schema as a page to read and try. Trying needs a token."""

    permission_classes = ()
    authentication_classes = ()
