"""What people are told about without asking."""

from enum import StrEnum


class AlertKind(StrEnum):
    """Kinds of alerts. A destination may want some of them only."""

    BUDGET_THRESHOLD = "budget_threshold"
    BUDGET_OVERAGE = "budget_overage"
    KILL_SWITCH = "kill_switch"
    LEDGER = "ledger"
    RECONCILIATION = "reconciliation"
    PARTITIONS = "partitions"
    CREDENTIAL_REFUSED = "credential_refused"
    QUOTA_EXHAUSTED = "quota_exhausted"
    TEST = "test"


class DeliveryState(StrEnum):
    """How far the delivery of one alert to one destination is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
