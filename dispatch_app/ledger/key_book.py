"""What became of the dispatches that idempotency keys stand for, and the answers that are kept for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
import psycopg

from dispatch_app.claims import Claim, Earlier, KeptAnswer
from dispatch_app.execution.ports import LedgerUnavailableError
from dispatch_app.ledger.lane import GroupCommitLane, LaneUnavailableError
from policies_app.sealing import UnsealError, seal, unseal

LOOK_UP_SQL = "SELECT idempotency_look_up(%s::jsonb)::text"
KEEP_SQL = "SELECT idempotency_keep(%s::jsonb)"

QUEUE_LIMIT = 2_048
MOST_KEPT_BYTES = 1024 * 1024
"""Longer answers are not kept."""


class _Wanted(msgspec.Struct):
    tenant_id: int
    api_key_id: int
    endpoint: str
    key_hmac: str
    wants_answer: bool


class _Kept(msgspec.Struct):
    tenant_id: int
    api_key_id: int
    endpoint: str
    key_hmac: str
    dispatch_id: UUID
    sealed_answer: str


class _Found(msgspec.Struct):
    body_sha256: str
    dispatch_id: UUID
    state: str
    status: str
    cost_nanos: int
    sealed_answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keeping:
    claim: Claim
    dispatch_id: UUID
    sealed: bytes


_encode = msgspec.json.Encoder().encode
_decode_found = msgspec.json.Decoder(list[_Found | None]).decode


class PostgresKeyBook:
    """Implements `dispatch_app.claims.KeyBook`, by a lane of its own, which connects with the first key."""

    def __init__(self, *, conninfo: str, sealing_key: bytes, patience_s: float) -> None:
        self._sealing_key = sealing_key
        self._lane: GroupCommitLane[Claim | _Keeping, _Found | None] = GroupCommitLane(
            name="keys",
            conninfo=conninfo,
            commit=self._commit,
            queue_limit=QUEUE_LIMIT,
            patience_s=patience_s,
            on_abandoned=lambda _item, _answer: None,
        )

    async def start(self) -> None:
        """Begin to answer. There is no connection before the first question."""
        await self._lane.start()

    async def stop(self) -> None:
        """Refuse what is asked from now on, and close the connection."""
        await self._lane.stop(timeout_s=0)

    async def find(self, claim: Claim) -> Earlier | None:
        """See `KeyBook.find`."""
        try:
            found = await self._lane.submit(claim)
        except (LaneUnavailableError, psycopg.Error) as error:
            raise LedgerUnavailableError from error
        if found is None:
            return None
        return Earlier(
            dispatch_id=found.dispatch_id,
            is_of_same_body=found.body_sha256 == claim.key.body_sha256,
            state=found.state,
            status=found.status,
            cost_nanos=found.cost_nanos,
            answer=self._unsealed(found),
        )

    async def keep(self, claim: Claim, *, dispatch_id: UUID, answer: KeptAnswer) -> None:
        """See `KeyBook.keep`."""
        if len(answer.body) > MOST_KEPT_BYTES:
            return
        sealed = seal(
            plaintext=f"{answer.status}\n{answer.body.decode()}",
            key=self._sealing_key,
            bound_to=_binding(dispatch_id),
        )
        try:
            await self._lane.submit(_Keeping(claim=claim, dispatch_id=dispatch_id, sealed=sealed))
        except (LaneUnavailableError, psycopg.Error):
            # A repeat is then told that the request was carried out.
            return

    def _unsealed(self, found: _Found) -> KeptAnswer | None:
        if found.sealed_answer is None:
            return None
        try:
            text = unseal(
                sealed=bytes.fromhex(found.sealed_answer),
                key=self._sealing_key,
                bound_to=_binding(found.dispatch_id),
            )
        except UnsealError:
            # The encryption key has changed since.
            return None
        status, _, body = text.partition("\n")
        return KeptAnswer(status=int(status), body=body.encode())

    async def _commit(
        self, connection: psycopg.AsyncConnection, items: Sequence[Claim | _Keeping], *, in_doubt: bool
    ) -> Sequence[_Found | None]:
        del in_doubt  # Keeping the same answer again changes nothing.
        keepings = [_kept(item) for item in items if isinstance(item, _Keeping)]
        wanted = [_wanted(item) for item in items if isinstance(item, Claim)]
        if keepings:
            await connection.execute(KEEP_SQL, (_encode(keepings).decode(),))
        if not wanted:
            return [None] * len(items)
        cursor = await connection.execute(LOOK_UP_SQL, (_encode(wanted).decode(),))
        found = iter(_decode_found((await cursor.fetchone())[0]))  # type: ignore[index]
        return [next(found) if isinstance(item, Claim) else None for item in items]


def _wanted(claim: Claim) -> _Wanted:
    return _Wanted(
        tenant_id=claim.tenant_id,
        api_key_id=claim.api_key_id,
        endpoint=claim.key.endpoint,
        key_hmac=claim.key.key_hmac,
        wants_answer=claim.replays,
    )


def _kept(keeping: _Keeping) -> _Kept:
    claim = keeping.claim
    return _Kept(
        tenant_id=claim.tenant_id,
        api_key_id=claim.api_key_id,
        endpoint=claim.key.endpoint,
        key_hmac=claim.key.key_hmac,
        dispatch_id=keeping.dispatch_id,
        sealed_answer=keeping.sealed.hex(),
    )


def _binding(dispatch_id: UUID) -> str:
    return f"kept_answer:{dispatch_id}"
