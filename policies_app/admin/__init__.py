"""What ops and finance staff edit, one module for each family of nouns."""

from policies_app.admin import audit, budgets, catalogue, kill_switches, policies, rules, tenants, users

__all__ = ["audit", "budgets", "catalogue", "kill_switches", "policies", "rules", "tenants", "users"]
