"""Addresses of the log's part of the management API."""

from rest_framework.routers import SimpleRouter

from dispatch_app.api.alerts import AlertDestinationViewSet, AlertViewSet
from dispatch_app.api.costs import CostViewSet
from dispatch_app.api.credentials import CredentialTestViewSet
from dispatch_app.api.dispatches import DispatchViewSet

router = SimpleRouter()
router.register("dispatches", DispatchViewSet)
router.register("costs", CostViewSet, basename="cost")
router.register("alerts", AlertViewSet)
router.register("credentials", CredentialTestViewSet)
router.register("alert-destinations", AlertDestinationViewSet)

urlpatterns = router.urls
