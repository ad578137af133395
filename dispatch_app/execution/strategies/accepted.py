"""What a strategy comes to."""

from dataclasses import dataclass

from dispatch_app.execution.attempt import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer that the client gets. `validated` is None where there was nothing to validate."""

    answer: Answer
    validated: bool | None = None
