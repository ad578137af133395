"""The control plane's addresses. The data plane's are in dispatch_app.gateway."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.utils.functional import lazystr
from django.views.generic import RedirectView

from policies_app.api.documentation import DocumentationPage, SchemaView

urlpatterns = [
    path("api/v1/", include("policies_app.api.urls")),
    path("api/v1/", include("dispatch_app.api.urls")),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocumentationPage.as_view(), name="api-docs"),
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=lazystr(static("signalbox/favicon.svg")))),
]
