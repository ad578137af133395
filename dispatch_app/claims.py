"""Idempotency keys between the gateway and the ledger: what a request claims, and what is known of an earlier one."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from dispatch_app.execution.ports import IdempotencyKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request's idempotency key, and whose it is.

    `wait_s` is how long the caller waits for an earlier request that is in flight; `replays` whether the tenant has
    answers kept and repeated.
    """

    tenant_id: int
    api_key_id: int
    key: IdempotencyKey
    wait_s: float
    replays: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """An answer as its client got it, or would have."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The dispatch that a key stands for. `state` is that of the SQL function idempotency_state."""

    dispatch_id: UUID
    is_of_same_body: bool
    state: str
    status: str
    cost_nanos: int
    answer: KeptAnswer | None

    @property
    def is_in_flight(self) -> bool:
        """Whether it is still being carried out, as far as the ledger knows."""
        return self.state == "in_flight"

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows what became of it."""
        return self.state == "unknown"

    @property
    def may_run_again(self) -> bool:
        """Whether nothing of it was ever sent, so that the same request may be carried out after all."""
        return self.is_of_same_body and self.state == "failed_before_send"


class KeyBook(Protocol):
    """Knows what keys stand for; see `dispatch_app.ledger.key_book`."""

    async def find(self, claim: Claim) -> Earlier | None:
        """The dispatch that the claimed key stands for, None if it is free.

        :raises LedgerUnavailableError: if the database does not say in time.
        """

    async def keep(self, claim: Claim, *, dispatch_id: UUID, answer: KeptAnswer) -> None:
        """Keep an answer, if the key still stands for that dispatch. One that is lost is only not repeated."""
