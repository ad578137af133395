"""The fault table as the tests hold it: what a vendor does wrong, and all that has to follow from it.

One row a fault. What it says is of one attempt that meets the fault, and of the client when no other model is left::

    name            what the vendor does
    fault           how the sandbox is told to do it; or an `Address` where nothing can answer
    meets           the attempt's fault on the log; None: the attempt answers
    told            the client's status and error code without an alternative
    cost            what the attempt is charged
    breaker         what it says of its target
    goes_on         False: the request itself is at fault, and nobody else is asked
    again           True: without an alternative, the same model is asked once more
    begun           True: a stream that is forwarded as it comes breaks off in the middle

Heavy rows move much data and are played apart, so that they do not delay the others. `stream` holds what differs for a stream. With an alternative the client gets the other model's answer, unless the row does
not go on, has begun to reach the client, or is `out_of_time`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from policies_app.routing.codes import FaultClass
from sandbox.faults import ErrorShape, Fault, FaultKind

CANARY = "canary-of-the-vendor"
"""Stands in every message of the vendor's; no client may ever see it."""
FIRST_BYTE_MS = 500
IDLE_MS = 500
STEP_MS = 900
DEADLINE_MS = 3_000
HURRY_MS = 600
"""What a client in a hurry allows."""


class Address(Enum):
    """Where no vendor answers."""

    UNKNOWN_NAME = auto()
    REFUSING = auto()
    SILENT = auto()
    TLS_EXPIRED = auto()
    TLS_WRONG_NAME = auto()
    TLS_SELF_SIGNED = auto()
    TLS_PLAINTEXT = auto()


class Cost(Enum):
    """What an attempt is charged."""

    NOTHING = auto()
    """Provably not billed."""
    EXACT = auto()
    """To the nano-dollar what the vendor bills."""
    BOUND = auto()
    """The whole reservation, as an estimate: at least what the vendor bills."""
    PART = auto()
    """For what had come when it was stopped: at least what the vendor bills, at most the reservation."""
    AS_REPORTED = auto()
    """What the vendor reported, which is less than it bills: nobody can know."""


class Says(Enum):
    """What an attempt says of its target."""

    NOTHING = auto()
    FAILURE = auto()
    COOLING = auto()
    OUT_OF_CREDIT = auto()
    CREDENTIAL = auto()


INVALID = (502, "upstream_invalid")
UNREACHABLE = (502, "upstream_unreachable")
UNAVAILABLE = (503, "no_target_available")
LIMITED = (429, "rate_limit_exceeded")
TOO_LATE = (504, "deadline_exceeded")
ANSWERED = (200, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault. Fields are explained at the top of the module."""

    name: str
    fault: Fault | Address
    times: int | None = None
    meets: FaultClass | None
    told: tuple[int, str] = ANSWERED
    retry_after: str | None = None
    cost: Cost
    breaker: Says = Says.NOTHING
    goes_on: bool = True
    again: bool = False
    begun: bool = False
    out_of_time: bool = False
    wire_status: int | None = None
    is_heavy: bool = False
    provider: Mapping[str, Any] = field(default_factory=dict)
    route: Mapping[str, Any] = field(default_factory=dict)
    timeout_ms: int | None = None
    stream: Mapping[str, Any] | None = field(default_factory=dict)

    @property
    def deadline_ms(self) -> int:
        """The rule's, or the client's if that is shorter."""
        rules_ms = int(self.route.get("deadline_ms", DEADLINE_MS))
        return rules_ms if self.timeout_ms is None else min(rules_ms, self.timeout_ms)

    def of(self, *, stream: bool) -> "Row | None":
        """The row for a plain request or for a stream; None if the fault is none there."""
        if not stream:
            return self
        return None if self.stream is None else replace(self, **self.stream)


def _status(status: int, **fields: Any) -> Fault:
    return Fault(kind=FaultKind.STATUS, status=status, **{"message": CANARY} | fields)


def _usage(**counts: int) -> Fault:
    return Fault(kind=FaultKind.USAGE, usage=counts)


def _unreachable(name: str, address: Address) -> Row:
    return Row(
        name=name,
        fault=address,
        meets=FaultClass.UNREACHABLE,
        told=UNREACHABLE,
        cost=Cost.NOTHING,
        breaker=Says.FAILURE,
    )


def _rejected(name: str, status: int, code: str | None = None) -> Row:
    return Row(
        name=name,
        fault=_status(status, code=code),
        meets=FaultClass.BAD_REQUEST,
        told=(status, "request_rejected"),
        cost=Cost.NOTHING,
        goes_on=False,
        wire_status=status,
    )


def _failed(status: int, told: tuple[int, str]) -> Row:
    return Row(
        name=str(status),
        fault=_status(status),
        meets=FaultClass.SERVER_ERROR,
        told=told,
        cost=Cost.NOTHING,
        breaker=Says.FAILURE,
        again=True,
        wire_status=status,
    )


def _limited(name: str, *, retry_after: str | None, told: str | None) -> Row:
    return Row(
        name=name,
        fault=_status(429, retry_after=retry_after),
        meets=FaultClass.RATE_LIMITED,
        told=LIMITED,
        retry_after=told,
        cost=Cost.NOTHING,
        breaker=Says.COOLING,
        wire_status=429,
    )


def _invalid(name: str, fault: Fault, **changes: Any) -> Row:
    return Row(
        name=name,
        fault=fault,
        meets=FaultClass.INVALID_REPLY,
        told=INVALID,
        breaker=Says.FAILURE,
        **{"cost": Cost.BOUND, "wire_status": 200} | changes,
    )


def _broken_off(name: str, fault: Fault, **changes: Any) -> Row:
    return Row(
        name=name,
        fault=fault,
        meets=FaultClass.TRUNCATED,
        told=INVALID,
        cost=Cost.BOUND,
        breaker=Says.FAILURE,
        again=True,
        **changes,
    )


def _late(name: str, fault: Fault, meets: FaultClass, **changes: Any) -> Row:
    return Row(
        name=name,
        fault=fault,
        meets=meets,
        told=TOO_LATE,
        cost=Cost.BOUND,
        **{"breaker": Says.FAILURE} | changes,
    )


def _answers(name: str, fault: Fault, *, cost: Cost = Cost.EXACT, **changes: Any) -> Row:
    return Row(name=name, fault=fault, meets=None, cost=cost, wire_status=200, **changes)


MID_PLAIN = 300
"""Bytes into a plain reply: in the middle of its JSON."""
MID_STREAM = 700
"""Bytes into a stream: behind its second event, far before its last."""


def fault_table() -> tuple[Row, ...]:
    """All rows."""
    return (
        # Nothing was sent.
        _unreachable("unknown host name", Address.UNKNOWN_NAME),
        _unreachable("connection refused", Address.REFUSING),
        _unreachable("connection never accepted", Address.SILENT),
        _unreachable("TLS certificate expired", Address.TLS_EXPIRED),
        _unreachable("TLS certificate of another name", Address.TLS_WRONG_NAME),
        _unreachable("TLS certificate self-signed", Address.TLS_SELF_SIGNED),
        _unreachable("no TLS at all", Address.TLS_PLAINTEXT),
        # Rate limits.
        _limited("429, seconds", retry_after="40", told="40"),
        replace(
            _limited("429, date", retry_after=None, told="60±5"), fault=_status(429, retry_after_date_s=60)
        ),
        _limited("429, absurd time", retry_after="99999999999", told="300"),
        _limited("429, unreadable time", retry_after="soon", told="1"),
        _limited("429, no time", retry_after=None, told="1"),
        Row(
            name="429 once, for a second",
            fault=_status(429, retry_after="1"),
            times=1,
            meets=FaultClass.RATE_LIMITED,
            cost=Cost.NOTHING,
            breaker=Says.COOLING,
            again=True,
            wire_status=429,
        ),
        Row(
            name="insufficient quota",
            fault=_status(429, code="insufficient_quota"),
            meets=FaultClass.QUOTA_EXHAUSTED,
            told=UNAVAILABLE,
            cost=Cost.NOTHING,
            breaker=Says.OUT_OF_CREDIT,
            wire_status=429,
        ),
        # The vendor fails.
        _failed(500, INVALID),
        _failed(502, INVALID),
        _failed(503, UNAVAILABLE),
        _failed(504, INVALID),
        _failed(529, UNAVAILABLE),
        replace(
            _failed(500, INVALID),
            name="500 of a vendor that bills it",
            fault=_status(500, billed=True),
            provider={"bills_server_errors": True},
            cost=Cost.BOUND,
        ),
        replace(_failed(500, ANSWERED), name="500 once", times=1),
        replace(
            _failed(503, UNAVAILABLE),
            name="503 as a page of a proxy",
            fault=_status(503, shape=ErrorShape.HTML),
        ),
        # The request is at fault.
        _rejected("400", 400),
        _rejected("404", 404),
        _rejected("413", 413),
        _rejected("422", 422),
        _rejected("content filter", 400, "content_filter"),
        _rejected("prompt too long", 400, "context_length_exceeded"),
        replace(
            _rejected("prompt too long, with leave to go on", 400, "context_length_exceeded"),
            route={"fall_back_on_long_context": True},
            goes_on=True,
        ),
        # Our credential is.
        *(
            Row(
                name=str(status),
                fault=_status(status),
                meets=FaultClass.CREDENTIAL_REFUSED,
                told=UNREACHABLE,
                cost=Cost.NOTHING,
                breaker=Says.CREDENTIAL,
                wire_status=status,
            )
            for status in (401, 403)
        ),
        # Silence.
        _late("no first byte", Fault(kind=FaultKind.HANG), FaultClass.FIRST_BYTE_TIMEOUT),
        _late(
            "silence in the middle",
            Fault(kind=FaultKind.HANG, after_bytes=MID_PLAIN),
            FaultClass.IDLE_TIMEOUT,
            wire_status=200,
            stream={"fault": Fault(kind=FaultKind.HANG, after_bytes=MID_STREAM), "begun": True},
        ),
        _late(
            "a byte now and then",
            Fault(kind=FaultKind.SPLIT_FRAMES, split_bytes=20, chunk_delay_ms=100),
            FaultClass.DEADLINE_EXCEEDED,
            breaker=Says.NOTHING,
            stream={
                "fault": Fault(kind=FaultKind.SPLIT_FRAMES, split_bytes=200, chunk_delay_ms=100),
                "begun": True,
            },
        ),
        _late(
            "silence beyond the client's deadline",
            Fault(kind=FaultKind.HANG),
            FaultClass.DEADLINE_EXCEEDED,
            provider={"first_byte_timeout_ms": 5_000},
            timeout_ms=HURRY_MS,
            out_of_time=True,
            breaker=Says.NOTHING,
        ),
        _late(
            "silence beyond the rule's deadline",
            Fault(kind=FaultKind.HANG),
            FaultClass.DEADLINE_EXCEEDED,
            provider={"first_byte_timeout_ms": 5_000},
            route={"deadline_ms": HURRY_MS},
            timeout_ms=60_000,
            out_of_time=True,
            breaker=Says.NOTHING,
        ),
        # The reply breaks off.
        _broken_off("reset before the reply", Fault(kind=FaultKind.RESET)),
        _broken_off("closed before the reply", Fault(kind=FaultKind.CUT)),
        _broken_off(
            "reset in the middle",
            Fault(kind=FaultKind.RESET, after_bytes=MID_PLAIN),
            wire_status=200,
            stream={"fault": Fault(kind=FaultKind.RESET, after_bytes=MID_STREAM), "begun": True},
        ),
        _broken_off(
            "closed in the middle",
            Fault(kind=FaultKind.CUT, after_bytes=MID_PLAIN),
            wire_status=200,
            stream={"fault": Fault(kind=FaultKind.CUT, after_bytes=MID_STREAM), "begun": True},
        ),
        replace(
            _answers("no end mark", Fault(kind=FaultKind.MISSING_DONE)),
            stream={
                "meets": FaultClass.TRUNCATED,
                "told": INVALID,
                "breaker": Says.FAILURE,
                "again": True,
                "begun": True,
            },
        ),
        *(
            replace(
                _answers(
                    f"error event as {shape.value} writes it",
                    Fault(kind=FaultKind.STREAM_ERROR, shape=shape, message=CANARY),
                ),
                stream={
                    "meets": FaultClass.STREAM_ERROR,
                    "told": INVALID,
                    "cost": Cost.BOUND,
                    "breaker": Says.FAILURE,
                    "again": True,
                    "begun": True,
                },
            )
            for shape in (ErrorShape.OPENAI, ErrorShape.ANTHROPIC, ErrorShape.VLLM)
        ),
        replace(
            _answers(
                "error event at once", Fault(kind=FaultKind.STREAM_ERROR, after_chunks=0, message=CANARY)
            ),
            stream={
                "meets": FaultClass.STREAM_ERROR,
                "told": INVALID,
                "cost": Cost.BOUND,
                "breaker": Says.FAILURE,
                "again": True,
            },
        ),
        # The reply is no reply.
        _invalid("malformed JSON", Fault(kind=FaultKind.MALFORMED_JSON)),
        _invalid("HTML with status 200", Fault(kind=FaultKind.HTML)),
        _invalid("wrong content type", Fault(kind=FaultKind.WRONG_CONTENT_TYPE)),
        _invalid(
            "empty 200",
            Fault(kind=FaultKind.EMPTY),
            stream={"meets": FaultClass.TRUNCATED, "again": True},
        ),
        _invalid(
            "no choices",
            Fault(kind=FaultKind.MISSING_CHOICES),
            stream={"cost": Cost.EXACT},
        ),
        _invalid("chunks that are none", Fault(kind=FaultKind.BAD_CHUNKING), wire_status=None),
        # The reply is too large.
        _invalid(
            "oversized body",
            Fault(kind=FaultKind.OVERSIZED, size_bytes=34_000_000),
            is_heavy=True,
            stream=None,
        ),
        _invalid(
            "endless line",
            Fault(kind=FaultKind.ENDLESS_LINE, size_bytes=34_000_000),
            is_heavy=True,
            stream={"fault": Fault(kind=FaultKind.ENDLESS_LINE, size_bytes=3_000_000), "begun": True},
        ),
        _invalid("header bomb", Fault(kind=FaultKind.HEADER_BOMB, size_bytes=300_000), wire_status=None),
        _invalid("gzip bomb", Fault(kind=FaultKind.GZIP_BOMB, size_bytes=50_000_000), is_heavy=True),
        # Somewhere else.
        Row(
            name="redirect",
            fault=Fault(kind=FaultKind.REDIRECT),
            meets=FaultClass.REDIRECTED,
            told=INVALID,
            cost=Cost.NOTHING,
            breaker=Says.FAILURE,
            wire_status=302,
        ),
        # The answer is good, its bill is not.
        _answers("usage absent", Fault(kind=FaultKind.MISSING_USAGE), cost=Cost.BOUND),
        _answers("usage negative", _usage(completion_tokens=-1), cost=Cost.BOUND),
        _answers("usage absurd", _usage(completion_tokens=10**12), cost=Cost.BOUND),
        _answers("usage of zero", _usage(prompt_tokens=0, completion_tokens=0), cost=Cost.AS_REPORTED),
        # Odd, and right.
        _answers("everything in one write", Fault(kind=FaultKind.GLUED_FRAMES)),
        _answers("a byte a write", Fault(kind=FaultKind.SPLIT_FRAMES, split_bytes=1), is_heavy=True),
        _answers(
            "a short silence in the middle",
            Fault(kind=FaultKind.STALL, stall_ms=IDLE_MS / 3, after_bytes=MID_PLAIN),
        ),
        _answers("CR LF", Fault(kind=FaultKind.CRLF_FRAMES)),
        _answers("comments", Fault(kind=FaultKind.COMMENTS)),
        _answers("finished twice", Fault(kind=FaultKind.DUPLICATE_FINISH)),
    )
