from dispatch_app.models.ledger import BudgetBalance, ServingProcess
from dispatch_app.models.log import Attempt, Dispatch

__all__ = ["Attempt", "BudgetBalance", "Dispatch", "ServingProcess"]
