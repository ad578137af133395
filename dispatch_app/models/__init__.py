from dispatch_app.models.alerts import Alert, AlertDelivery, AlertDestination
from dispatch_app.models.health import MetricCount, ProcessLoad, TargetHealth
from dispatch_app.models.ledger import BudgetBalance, ServingProcess
from dispatch_app.models.log import Attempt, Dispatch
from dispatch_app.models.reconciliation import ReconcileDifference, ReconcileRun
from dispatch_app.models.rollups import RollupDay, RollupLatency, RollupMonth

__all__ = [
    "Alert",
    "AlertDelivery",
    "AlertDestination",
    "Attempt",
    "BudgetBalance",
    "Dispatch",
    "MetricCount",
    "ProcessLoad",
    "ReconcileDifference",
    "ReconcileRun",
    "RollupDay",
    "RollupLatency",
    "RollupMonth",
    "ServingProcess",
    "TargetHealth",
]
