from django.contrib import admin
from django.urls import path

from dispatch_app.health import views

urlpatterns = [
    path("", admin.site.admin_view(views.show_health), name="page"),
    path("live/", admin.site.admin_view(views.show_live_part), name="live"),
]
