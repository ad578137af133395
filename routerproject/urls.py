"""The control plane's addresses. The data plane's are in dispatch_app.gateway."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import path
from django.utils.functional import lazystr
from django.views.generic import RedirectView

urlpatterns = [
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=lazystr(static("signalbox/favicon.svg")))),
]
