"""One attempt: while it runs, when it has answered, and when it is over."""

from dataclasses import dataclass, field

import msgspec

from dispatch_app.execution.canonical import Reply, Request, StreamPart
from dispatch_app.execution.cut import Cut
from dispatch_app.execution.ports import AttemptRecord, Leave, Settlement, Target, UpstreamCall
from policies_app.routing.types import Candidate, Facts, Usage
from policies_app.routing.wire_formats import THINKS_UNASKED


@dataclass(slots=True, kw_only=True, eq=False)
class RunningAttempt:
    """One attempt while it runs: what is asked of whom, and what has come of it so far.

    Of an answer that `comes_whole` nothing is seen until all of it was generated. `leave` is what it has of its model's
    rate limits. `cut` ends what it waits for.
    """

    record: AttemptRecord
    target: Target
    request: Request
    facts: Facts
    started_at: float
    deadline_at: float
    first_byte_at: float | None = None
    received_bytes: int = 0
    comes_whole: bool = False
    leave: Leave | None = None
    cut: Cut = field(default_factory=Cut)

    @property
    def candidate(self) -> Candidate:
        """What is asked of the target, and at which bound."""
        return self.target.candidate

    @property
    def may_think(self) -> bool:
        """Whether the vendor may generate, and bill, tokens that are never seen."""
        return self.request.may_think or self.candidate.model.quirks.may_think

    @property
    def shows_what_it_generates(self) -> bool:
        """Whether what was received of the answer bounds what was generated.

        Where models think unasked, their first part tells how much they have thought; until then, nothing does.
        """
        if self.comes_whole or self.may_think:
            return False
        return self.first_byte_at is not None or self.candidate.model.wire_format not in THINKS_UNASKED

    def call(self, *, stream: bool) -> UpstreamCall:
        """The attempt as its vendor's adapter needs it."""
        request = self.request
        return UpstreamCall(
            request=request if request.stream is stream else msgspec.structs.replace(request, stream=stream),
            candidate=self.candidate,
            deadline_at=self.deadline_at,
            credential=self.target.credential,
        )

    def end_leave(self, *, tokens: int) -> None:
        """Return what is left of the leave, once."""
        leave, self.leave = self.leave, None
        if leave is not None:
            leave.end(tokens=tokens)


@dataclass(slots=True, kw_only=True, eq=False)
class Answer:
    """What an attempt answered, before anybody has accepted it.

    `reply` is the whole answer, None where it was forwarded as it came. `parts` is what a streaming client has still to
    get of it.
    """

    attempt: RunningAttempt
    model: str
    usage: Usage | None
    wire_status: int
    ended_at: float
    reply: Reply | None = None
    parts: list[StreamPart] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """An attempt that is over."""

    record: AttemptRecord
    candidate: Candidate
    settlement: Settlement
