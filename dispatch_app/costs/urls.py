from django.urls import path

from dispatch_app.costs import views

urlpatterns = [
    path("", views.show_tenants, name="tenants"),
    path("tenants/<slug:name>/", views.show_tenant, name="tenant"),
    path("tenants/<slug:name>/dispatches/", views.show_dispatches, name="dispatches"),
    path("tenants/<slug:name>/costs.csv", views.export_tenant, name="export"),
    path("dispatches/<uuid:dispatch_id>/", views.show_dispatch, name="dispatch"),
]
