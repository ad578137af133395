"""The dispatcher's own headers, in and out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from starlette.types import Scope

from dispatch_app.execution.dispatcher import Dispatch
from dispatch_app.execution.progress import Progress
from dispatch_app.gateway.errors import RequestError
from dispatch_app.providers.quirks import dropped
from policies_app.routing.types import Decision

RawHeaders = list[tuple[bytes, bytes]]

MOST_TAGS = 16
MOST_TAG_NAME = 64
MOST_TAG_VALUE = 256
MOST_TASK = 64
MOST_TIMEOUT_MS = 24 * 3_600_000
MOST_REASON = 512
MOST_KEY = 255

_AUTHORIZATION = b"authorization"
_API_KEY = b"x-api-key"
_TASK = b"x-dispatch-task"
_TAGS = b"x-dispatch-tags"
_DEBUG = b"x-dispatch-debug"
_TIMEOUT = b"x-request-timeout-ms"
_KEY = b"idempotency-key"
_PREFER = b"prefer"
_READ = frozenset({_AUTHORIZATION, _API_KEY, _TASK, _TAGS, _DEBUG, _TIMEOUT, _KEY, _PREFER})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerHeaders:
    """What a caller says in headers. None and empty mean that it said nothing.

    `wait_s` is how long it prefers to wait for an earlier request of the same idempotency key, infinite for as long as
    need be.
    """

    authorization: str | None
    task: str | None
    tags: Mapping[str, str]
    timeout_ms: int | None
    wants_trace: bool
    idempotency_key: str | None
    wait_s: float


def read_headers(scope: Scope) -> CallerHeaders:
    """Read the headers that mean something here.

    :raises RequestError: if one of them comes twice or does not make sense.
    """
    found: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in _READ:
            if name in found:
                raise RequestError(param=name.decode(), detail=f"The header {name.decode()} comes twice.")
            found[name] = value.decode("latin-1")
    return CallerHeaders(
        authorization=_authorization(found),
        task=checked_task(found[_TASK]) if _TASK in found else None,
        tags=_read_tags(found[_TAGS]) if _TAGS in found else {},
        timeout_ms=_read_timeout(found[_TIMEOUT]) if _TIMEOUT in found else None,
        wants_trace=found.get(_DEBUG, "").lower() == "true",
        idempotency_key=_read_key(found[_KEY]) if _KEY in found else None,
        wait_s=_read_wait(found[_PREFER]) if _PREFER in found else 0.0,
    )


def _authorization(found: Mapping[bytes, str]) -> str | None:
    """Anthropic's clients present their key in a header of its own."""
    if _AUTHORIZATION in found or _API_KEY not in found:
        return found.get(_AUTHORIZATION)
    return f"Bearer {found[_API_KEY]}"


def checked_task(task: str) -> str:
    """Return a task's name.

    :raises RequestError: if it is too long or not printable.
    """
    if not task.isprintable() or len(task) > MOST_TASK:
        raise RequestError(param="task", detail=f"A task is at most {MOST_TASK} printable characters.")
    return task


def checked_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    """Return tags.

    :raises RequestError: if there are too many, or one is too long or not printable.
    """
    for name, value in tags.items():
        if not (
            0 < len(name) <= MOST_TAG_NAME and len(value) <= MOST_TAG_VALUE and (name + value).isprintable()
        ):
            raise RequestError(
                param="tags",
                detail=f"A tag is {MOST_TAG_NAME} and {MOST_TAG_VALUE} printable characters at most.",
            )
    if len(tags) > MOST_TAGS:
        raise RequestError(param="tags", detail=f"There can be at most {MOST_TAGS} tags.")
    return tags


def decision_headers(decision: Decision, reason: str) -> RawHeaders:
    """What was decided, and why."""
    plan = decision.plan
    return [
        (b"x-dispatch-policy", header_value(decision.policy)),
        (b"x-dispatch-policy-version", b"%d" % decision.version),
        (b"x-dispatch-rule", header_value(decision.rule or "")),
        (b"x-dispatch-strategy", header_value(plan.strategy.value if plan else "")),
        (b"x-dispatch-reason", header_value(reason)),
    ]


def progress_headers(progress: Progress) -> RawHeaders:
    """Which model is answering, after how many attempts, and whether its answer passed what it was put to."""
    headers = [(b"x-dispatch-attempts", b"%d" % progress.attempts)]
    if progress.candidate is not None:
        model = progress.candidate.model
        headers.append((b"x-dispatch-model", header_value(model.name)))
        headers.append((b"x-dispatch-provider", header_value(model.provider)))
        if progress.candidate.is_shrunk:
            headers.append((b"x-dispatch-output-limit", b"%d" % progress.candidate.output_tokens_limit))
    if progress.validated is not None:
        headers.append((b"x-dispatch-validated", b"true" if progress.validated else b"false"))
    return headers


def cost_headers(progress: Progress, *, overhead_s: float) -> RawHeaders:
    """What a finished dispatch cost, in money and in time of ours."""
    headers = [
        (b"x-dispatch-cost-usd", usd(progress.cost_nanos).encode()),
        (b"x-dispatch-overhead-ms", b"%.2f" % (overhead_s * 1000)),
    ]
    if not progress.is_settled:
        headers.append((b"x-dispatch-settlement", b"pending"))
    return headers


def dropped_headers(dispatch: Dispatch) -> RawHeaders:
    """Names of what the caller asked for and the model that answers was not told."""
    candidate = dispatch.progress.candidate
    if candidate is None:
        return []
    names = dropped(dispatch.order.request, candidate)
    return [(b"x-dispatch-dropped", header_value(", ".join(names)))] if names else []


def id_headers(dispatch_id: UUID, request_id_header: bytes) -> RawHeaders:
    """The id that the log knows the dispatch by, and again where the caller's client looks for one."""
    text = str(dispatch_id).encode()
    return [(b"x-dispatch-id", text), (request_id_header, text)]


def usd(nanos: int) -> str:
    """Nano-dollars as dollars, exactly."""
    return f"{nanos // 1_000_000_000}.{nanos % 1_000_000_000:09d}"


def header_value(text: str) -> bytes:
    """Text as a header can carry it: visible Latin-1 on one line, not too long."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(character if character.isprintable() else " " for character in text)
    return text[:MOST_REASON].encode("latin-1", "replace")


def _read_tags(header: str) -> Mapping[str, str]:
    pairs = [pair.partition("=") for pair in header.split(",") if pair.strip()]
    if not all(separator for _, separator, _ in pairs):
        raise RequestError(
            param="x-dispatch-tags", detail="Tags are written as name=value, separated by commas."
        )
    return checked_tags({name.strip(): value.strip() for name, _, value in pairs})


def _read_timeout(header: str) -> int:
    if not (
        header.isascii() and header.isdigit() and len(header) < 12 and 0 < int(header) <= MOST_TIMEOUT_MS
    ):
        raise RequestError(
            param="x-request-timeout-ms", detail=f"The timeout is a whole number from 1 to {MOST_TIMEOUT_MS}."
        )
    return int(header)


def _read_key(header: str) -> str:
    if not (0 < len(header) <= MOST_KEY and header.isprintable()):
        raise RequestError(
            param="idempotency-key", detail=f"An idempotency key is 1 to {MOST_KEY} printable characters."
        )
    return header


def _read_wait(header: str) -> float:
    """The preference `wait` of RFC 7240, with or without seconds. What else is preferred is passed over, as it may be."""
    for preference in header.split(","):
        name, _, seconds = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = seconds.strip()
            is_number = seconds.isascii() and seconds.isdigit() and len(seconds) < 12
            return float(seconds) if is_number else math.inf
    return 0.0
