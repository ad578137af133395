"""The control plane's addresses. The data plane's are in dispatch_app.gateway."""

from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
]
