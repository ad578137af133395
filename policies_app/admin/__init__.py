"""What ops and finance staff edit, one module for each family of nouns."""

from django.contrib.admin.checks import ModelAdminChecks
from unfold.admin import ModelAdmin

from policies_app.admin import (
    audit,
    budget_raises,
    budgets,
    catalogue,
    judges,
    kill_switches,
    policies,
    rate_limits,
    rules,
    tenants,
    users,
)

__all__ = [
    "audit",
    "budget_raises",
    "budgets",
    "catalogue",
    "judges",
    "kill_switches",
    "policies",
    "rate_limits",
    "rules",
    "tenants",
    "users",
]

# Unfold's own checks ask the database for permissions that the first `migrate`, which runs them, has yet to create.
ModelAdmin.checks_class = ModelAdminChecks
