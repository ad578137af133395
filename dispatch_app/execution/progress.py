"""How far a dispatch has come."""

from dataclasses import dataclass, field

from dispatch_app.execution.attempt import PastAttempt
from policies_app.routing.types import Candidate, Usage


@dataclass(slots=True, kw_only=True)
class Progress:
    """What an answer's headers say, whether the dispatch succeeds or not; true at any time.

    `candidate` is who answers, or was asked last. `usage` is what the vendor reported for the answer. `validated` says
    whether the answer passed its validators, None where there was nothing to validate. `upstream_s` is how long somebody
    was waited for.
    """

    attempts: int = 0
    candidate: Candidate | None = None
    cost_nanos: int = 0
    usage: Usage | None = None
    is_estimated: bool = False
    is_settled: bool = True
    validated: bool | None = None
    is_continued: bool = False
    upstream_s: float = 0.0
    past: list[PastAttempt] = field(default_factory=list)

    @property
    def model_name(self) -> str:
        """The model that is answering, empty before the first attempt."""
        return "" if self.candidate is None else self.candidate.model.name

    @property
    def tokens(self) -> int:
        """What all attempts that are over took."""
        return sum(attempt.settlement.usage.tokens for attempt in self.past)
