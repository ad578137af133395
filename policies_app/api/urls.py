"""Addresses of the control plane's part of the management API."""

from rest_framework.routers import SimpleRouter

from policies_app.api.budget_raises import BudgetRaiseViewSet
from policies_app.api.budgets import BudgetViewSet
from policies_app.api.catalogue import CredentialViewSet, ModelViewSet, PriceViewSet, ProviderViewSet
from policies_app.api.judges import JudgeViewSet, QualityScoreViewSet
from policies_app.api.kill_switches import KillSwitchViewSet
from policies_app.api.policies import PolicyViewSet
from policies_app.api.rate_limits import RateLimitViewSet
from policies_app.api.tenants import ApiKeyViewSet, TenantViewSet

router = SimpleRouter()
router.register("providers", ProviderViewSet)
router.register("credentials", CredentialViewSet)
router.register("models", ModelViewSet)
router.register("prices", PriceViewSet)
router.register("tenants", TenantViewSet)
router.register("keys", ApiKeyViewSet)
router.register("policies", PolicyViewSet)
router.register("judges", JudgeViewSet)
router.register("quality-scores", QualityScoreViewSet)
router.register("budgets", BudgetViewSet)
router.register("budget-raises", BudgetRaiseViewSet)
router.register("rate-limits", RateLimitViewSet)
router.register("kill-switches", KillSwitchViewSet)

urlpatterns = router.urls
