from dispatch_app.models.health import MetricCount, ProcessLoad, TargetHealth
from dispatch_app.models.ledger import BudgetBalance, ServingProcess
from dispatch_app.models.log import Attempt, Dispatch
from dispatch_app.models.rollups import RollupDay, RollupLatency, RollupMonth

__all__ = [
    "Attempt",
    "BudgetBalance",
    "Dispatch",
    "MetricCount",
    "ProcessLoad",
    "RollupDay",
    "RollupLatency",
    "RollupMonth",
    "ServingProcess",
    "TargetHealth",
]
