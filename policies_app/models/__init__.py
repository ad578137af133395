from policies_app.models.audit import AuditAction, AuditEntry
from policies_app.models.budgets import Budget, BudgetRaise
from policies_app.models.catalogue import Credential, Model, Price, Provider
from policies_app.models.conditions import Condition
from policies_app.models.judges import Judge, JudgeVersion
from policies_app.models.kill_switches import KillSwitch
from policies_app.models.policies import Policy, PolicyVersion, Rule, Step
from policies_app.models.quality import QualityScore
from policies_app.models.rate_limits import RateLimit
from policies_app.models.tenants import ApiKey, Tenant
from policies_app.models.validators import Validator

__all__ = [
    "ApiKey",
    "AuditAction",
    "AuditEntry",
    "Budget",
    "BudgetRaise",
    "Condition",
    "Credential",
    "Judge",
    "JudgeVersion",
    "KillSwitch",
    "Model",
    "Policy",
    "PolicyVersion",
    "Price",
    "Provider",
    "QualityScore",
    "RateLimit",
    "Rule",
    "Step",
    "Tenant",
    "Validator",
]
