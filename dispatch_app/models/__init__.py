from dispatch_app.models.ledger import BudgetBalance, ServingProcess
from dispatch_app.models.log import Attempt, Dispatch
from dispatch_app.models.rollups import RollupDay, RollupLatency, RollupMonth

__all__ = [
    "Attempt",
    "BudgetBalance",
    "Dispatch",
    "RollupDay",
    "RollupLatency",
    "RollupMonth",
    "ServingProcess",
]
