"""The closed set of checks that an answer can be put to before it is accepted.

A validator here is a value: what is checked and how strictly. Execution carries it out. Figures are from 0 to 1, and
operands are checked when a validator is built.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from policies_app.routing.codes import LogprobMeasure
from policies_app.routing.operands import OperandError, require_integer, require_share, require_text

MOST_SAMPLES = 5
FINISHED = ("stop", "tool_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReference:
    """One version of a judge, which stands as long as the policy version that names it."""

    name: str
    version: int

    def __post_init__(self) -> None:
        require_text(self.name, "name")
        require_integer(self.version, "version", least=1)

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchemaHolds:
    """The answer is JSON that satisfies `schema`; None: the schema that the request asks for, if it asks for one."""

    kind: ClassVar[str] = "json_schema"

    schema: Mapping[str, Any] | None = None

    def expected(self) -> str:
        """What must hold, in words."""
        return "the answer is valid by " + ("the requested schema" if self.schema is None else "its schema")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobAtLeast:
    """The model was sure of its tokens.

    *mean* is the geometric mean of the tokens' probabilities, *minimum* the least of them, *margin* the mean distance
    between the probabilities of the chosen token and the next likely one.
    """

    kind: ClassVar[str] = "logprob"

    measure: LogprobMeasure
    at_least: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "measure", LogprobMeasure(self.measure))
        object.__setattr__(self, "at_least", require_share(self.at_least, "at_least"))

    def expected(self) -> str:
        """What must hold, in words."""
        return f"confidence by token probability ({self.measure}) is at least {self.at_least:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredAtLeast:
    """The answer is a JSON object whose `field` (dots lead into objects) is a number of at least `at_least`."""

    kind: ClassVar[str] = "declared_field"

    field: str
    at_least: float

    def __post_init__(self) -> None:
        require_text(self.field, "field")
        object.__setattr__(self, "at_least", require_share(self.at_least, "at_least"))

    def expected(self) -> str:
        """What must hold, in words."""
        return f"the answer declares {self.field} of at least {self.at_least:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesAgree:
    """Of `samples` answers of the same model, this one included, `at_least` say the same as this one."""

    kind: ClassVar[str] = "agreement"

    samples: int
    at_least: int

    def __post_init__(self) -> None:
        require_integer(self.samples, "samples", least=2)
        require_integer(self.at_least, "at_least", least=2)
        if self.samples > MOST_SAMPLES:
            raise OperandError(f"samples: at most {MOST_SAMPLES}")
        if self.at_least > self.samples:
            raise OperandError(f"at_least: cannot exceed the {self.samples} samples")

    def expected(self) -> str:
        """What must hold, in words."""
        return f"at least {self.at_least} of {self.samples} samples agree"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishReasonIs:
    """The reply ended by one of `finish_reasons`."""

    kind: ClassVar[str] = "finish_reason"

    finish_reasons: tuple[str, ...] = FINISHED

    def __post_init__(self) -> None:
        if not self.finish_reasons:
            raise OperandError("finish_reasons: give at least one")
        for finish_reason in self.finish_reasons:
            require_text(finish_reason, "finish_reasons")

    def expected(self) -> str:
        """What must hold, in words."""
        return f"the reply ends by {' or '.join(self.finish_reasons)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBetween:
    """The answer has so many characters, both bounds included; a bound of None is open."""

    kind: ClassVar[str] = "length"

    minimum: int | None = None
    maximum: int | None = None

    def __post_init__(self) -> None:
        if self.minimum is None and self.maximum is None:
            raise OperandError("minimum: give a minimum, a maximum or both")
        for name, value in (("minimum", self.minimum), ("maximum", self.maximum)):
            if value is not None:
                require_integer(value, name, least=0)
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise OperandError(f"minimum: {self.minimum} exceeds the maximum of {self.maximum}")

    def expected(self) -> str:
        """What must hold, in words."""
        if self.maximum is None:
            return f"the answer has at least {self.minimum} characters"
        if self.minimum is None:
            return f"the answer has at most {self.maximum} characters"
        return f"the answer has {self.minimum} to {self.maximum} characters"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRefused:
    """The model did not decline to answer."""

    kind: ClassVar[str] = "not_refused"

    def expected(self) -> str:
        """What must hold, in words."""
        return "the answer is no refusal"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedAtLeast:
    """A judge gives the answer a score of at least `at_least`."""

    kind: ClassVar[str] = "judge"

    judge: JudgeReference
    at_least: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "at_least", require_share(self.at_least, "at_least"))

    def expected(self) -> str:
        """What must hold, in words."""
        return f"judge {self.judge} gives at least {self.at_least:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallableAccepts:
    """A Python callable of one's own, registered under the entry point group `signalbox.validators`, accepts the answer."""

    kind: ClassVar[str] = "callable"

    name: str

    def __post_init__(self) -> None:
        require_text(self.name, "name")

    def expected(self) -> str:
        """What must hold, in words."""
        return f"{self.name} accepts the answer"


Validator = (
    JsonSchemaHolds
    | LogprobAtLeast
    | DeclaredAtLeast
    | SamplesAgree
    | FinishReasonIs
    | LengthBetween
    | NotRefused
    | JudgedAtLeast
    | CallableAccepts
)

VALIDATOR_KINDS: Mapping[str, type[Validator]] = {
    validator.kind: validator for validator in get_args(Validator)
}
"""Every validator by the `kind` that documents name it by."""
