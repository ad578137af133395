from policies_app.models.audit import AuditAction, AuditEntry
from policies_app.models.budgets import Budget
from policies_app.models.catalogue import Credential, Model, Price, Provider
from policies_app.models.kill_switches import KillSwitch
from policies_app.models.policies import Policy, PolicyVersion, Rule, Step
from policies_app.models.tenants import ApiKey, Tenant

__all__ = [
    "ApiKey",
    "AuditAction",
    "AuditEntry",
    "Budget",
    "Credential",
    "KillSwitch",
    "Model",
    "Policy",
    "PolicyVersion",
    "Price",
    "Provider",
    "Rule",
    "Step",
    "Tenant",
]
