from django.contrib import admin
from django.urls import path

from dispatch_app.rollups import views

urlpatterns = [
    path("", admin.site.admin_view(views.show_books), name="page"),
    path("run/", admin.site.admin_view(views.run_now), name="run"),
]
