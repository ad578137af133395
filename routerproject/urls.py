"""The control plane's addresses. The data plane's are in dispatch_app.gateway."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.templatetags.static import static
from django.urls import include, path
from django.utils.functional import lazy
from django.views.generic import RedirectView

from dispatch_app.costs.access import strict_content
from dispatch_app.costs.views import home
from dispatch_app.health.views import show_metrics
from policies_app.admin.price_gaps import show_price_gaps
from policies_app.api.documentation import DocumentationPage, SchemaView

urlpatterns = [
    path("", home, name="home"),
    path("login/", strict_content(LoginView.as_view(template_name="login.html")), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("costs/", include(("dispatch_app.costs.urls", "costs"))),
    path("api/v1/", include("policies_app.api.urls")),
    path("api/v1/", include("dispatch_app.api.urls")),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocumentationPage.as_view(), name="api-docs"),
    path("admin/health/", include(("dispatch_app.health.urls", "health"))),
    path("admin/reconcile/", include(("dispatch_app.rollups.urls", "reconcile"))),
    path("admin/prices/", admin.site.admin_view(show_price_gaps), name="price-gaps"),
    path("admin/", admin.site.urls),
    path("metrics", show_metrics, name="metrics"),
    path("favicon.ico", RedirectView.as_view(url=lazy(static, str)("signalbox/favicon.svg"))),
]
