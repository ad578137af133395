"""What can go wrong between a client and an answer, and what each official client has to make of it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import openai

from sandbox.faults import Fault, FaultKind
from tests.matrix.market import Vendor
from tests.matrix.rows import Row

CANARY = "canary-of-the-vendor"
"""What the vendor says of it. No client may ever see it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that goes wrong: a `fault` of the vendor's, or a key or a model that there is not.

    `status` and `code` are what the client is told; a stream that has begun has no status of its own.
    """

    name: str
    status: int | None
    code: str
    fault: Fault | None = None
    key: str | None = None
    model: str | None = None

    @property
    def reaches_vendor(self) -> bool:
        return self.fault is not None

    @property
    def is_held_against_vendor(self) -> bool:
        """Whether those who come after may be kept from the vendor because of it."""
        return self.reaches_vendor and self.status != 400


def _status(status: int, **fields: Any) -> Fault:
    return Fault(kind=FaultKind.STATUS, status=status, message=CANARY, **fields)


TROUBLES = (
    Trouble(name="wrong key", key="sbx_nobody", status=401, code="invalid_api_key"),
    Trouble(name="unknown model", model="nowhere", status=404, code="model_not_found"),
    Trouble(name="vendor rejects the request", fault=_status(400), status=400, code="request_rejected"),
    Trouble(
        name="prompt is too long",
        fault=_status(400, code="context_length_exceeded"),
        status=400,
        code="request_rejected",
    ),
    Trouble(name="vendor refuses the key", fault=_status(401), status=502, code="upstream_unreachable"),
    Trouble(
        name="vendor limits the rate",
        fault=_status(429, retry_after="120"),
        status=429,
        code="rate_limit_exceeded",
    ),
    Trouble(name="vendor fails", fault=_status(500), status=502, code="upstream_invalid"),
    Trouble(
        name="stream breaks off",
        fault=Fault(kind=FaultKind.STREAM_ERROR, after_chunks=5, content="word " * 20, message=CANARY),
        status=None,
        code="upstream_invalid",
    ),
)


def troubles_of(row: Row) -> tuple[Trouble, ...]:
    """What a client can be seen to run into: nothing if it hides that, and no broken stream if it has none."""
    if row.plain is None:
        return ()
    return tuple(trouble for trouble in TROUBLES if trouble.status is not None or row.streamed is not None)


def meet(trouble: Trouble, row: Row, client: Any, vendor: Vendor, policy: str) -> None:
    """Have a client run into a trouble.

    :raises AssertionError: if it does not learn of it as it should.
    :raises APIStatusError: if the vendor cannot be asked at all.
    """
    with _scripted(vendor, trouble.fault):
        if trouble.status is None:
            _check_broken_stream(trouble, row, client, policy)
        else:
            _check_refusal(trouble, row, client, policy)


@contextlib.contextmanager
def _scripted(vendor: Vendor, fault: Fault | None) -> Iterator[None]:
    if fault is not None:
        vendor.server.script(fault)
    try:
        yield
    finally:
        vendor.server.clear_faults()


def _check_refusal(trouble: Trouble, row: Row, client: Any, policy: str) -> None:
    assert row.plain is not None
    asking = client if trouble.key is None else client.with_options(api_key=trouble.key)
    try:
        row.plain(asking, trouble.model or policy)
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        body: Any = error.body
        code = body["error"]["code"] if isinstance(error, anthropic.APIStatusError) else body["code"]
        if trouble.reaches_vendor and code == "no_target_available":
            raise
        assert (error.status_code, code) == (trouble.status, trouble.code), error.message
        assert CANARY not in str(body)
        if trouble.status == 429:
            assert int(error.response.headers["retry-after"]) > 0
    else:
        raise AssertionError("it answered")


def _check_broken_stream(trouble: Trouble, row: Row, client: Any, policy: str) -> None:
    """Both clients raise within a stream what they are told in an error's words; responses have an event for it."""
    assert row.streamed is not None
    try:
        *_, last = row.streamed(client, policy)
    except openai.APIError as error:
        assert error.code == trouble.code
    except anthropic.APIStatusError as error:
        told: Any = error.body
        assert told["error"]["code"] == trouble.code
    else:
        assert (last.type, last.code) == ("error", trouble.code)
