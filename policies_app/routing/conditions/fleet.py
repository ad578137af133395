"""Conditions on how the fleet fares: its latency, its quality, its health."""

from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import ClassVar

from policies_app.routing.codes import LatencyMeasure
from policies_app.routing.conditions.figures import FigureCondition
from policies_app.routing.conditions.operand_lists import distinct_texts, one_of
from policies_app.routing.latency import exceeds, measured_ms
from policies_app.routing.operands import OperandError, require_integer, require_share, require_text
from policies_app.routing.types import Facts, LatencyQuery, LatencySignal, Situation

PERCENTILES = (50, 95, 99)
SHORTEST_WINDOW_S = 30
LONGEST_WINDOW_S = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyAbove:
    """A percentile of a model's latency over a window is above a bound.

    It takes `least_samples` calls to say so. Once it holds, it holds until the figure is `hysteresis_pct` percent below
    the bound, so that traffic does not swing to and fro. A cold model counts with its cold start.
    """

    kind: ClassVar[str] = "latency"

    model: str
    measure: LatencyMeasure
    percentile: int
    above_ms: int
    window_s: int = 300
    least_samples: int = 20
    hysteresis_pct: int = 10

    signal: LatencySignal = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_text(self.model, "model")
        object.__setattr__(self, "measure", LatencyMeasure(self.measure))
        if self.percentile not in PERCENTILES:
            raise OperandError(f"percentile: must be one of {', '.join(map(str, PERCENTILES))}")
        require_integer(self.above_ms, "above_ms", least=1)
        require_integer(self.window_s, "window_s", least=SHORTEST_WINDOW_S, most=LONGEST_WINDOW_S)
        require_integer(self.least_samples, "least_samples", least=1)
        require_integer(self.hysteresis_pct, "hysteresis_pct", least=0, most=99)
        query = LatencyQuery(
            model=self.model, measure=self.measure, percentile=self.percentile, window_s=self.window_s
        )
        signal = LatencySignal(
            query=query,
            above_ms=self.above_ms,
            least_samples=self.least_samples,
            hysteresis_pct=self.hysteresis_pct,
        )
        object.__setattr__(self, "signal", signal)

    def holds(self, facts: Facts, situation: Situation, now: datetime) -> bool:
        fleet = situation.fleet
        return exceeds(
            self.signal,
            fleet.latency.get(self.signal.query),
            cold_penalty_ms=fleet.cold_penalty_ms.get(self.model, 0),
            held=bool(fleet.holding) and self.signal in fleet.holding,
        )

    def expected(self) -> str:
        """What must hold, in words."""
        return f"{self._figure} is above {self.above_ms} ms"

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request met instead, in words."""
        fleet = situation.fleet
        penalty_ms = fleet.cold_penalty_ms.get(self.model, 0)
        value_ms = measured_ms(self.signal, fleet.latency.get(self.signal.query), cold_penalty_ms=penalty_ms)
        if value_ms is None:
            return f"there are fewer than {self.least_samples} calls to go by"
        return f"it is {value_ms} ms" + (", with a cold start" if penalty_ms else "")

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        # With hysteresis, another bound may hold from before or not.
        return self == other

    def contradicts(self, other: object) -> bool:
        """Never: latency has no upper end."""
        return False

    @property
    def _figure(self) -> str:
        measure = "first byte" if self.measure is LatencyMeasure.FIRST_BYTE else "total time"
        return f"p{self.percentile} of the {measure} of {self.model} over {self.window_s} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityAtLeast(FigureCondition):
    """The eval score of a model on a task is at least `score_min`, from 0 to 1. `task` None: the request's own task."""

    kind: ClassVar[str] = "quality"

    model: str
    score_min: float
    task: str | None = None

    def __post_init__(self) -> None:
        require_text(self.model, "model")
        if self.task is not None:
            require_text(self.task, "task")
        object.__setattr__(self, "score_min", require_share(self.score_min, "score_min"))

    @property
    def subject(self) -> tuple[str, str | None]:
        """The model, and the task if it is not the request's own."""
        return self.model, self.task

    @property
    def bounds(self) -> tuple[float, float]:
        """From 0 to 1, the best score included."""
        return self.score_min, inf

    def figure(self, facts: Facts, situation: Situation, now: datetime) -> float | None:
        """The model's eval score on the task."""
        task = facts.task if self.task is None else self.task
        return None if task is None else situation.fleet.quality.get((self.model, task))

    def expected(self) -> str:
        """What must hold, in words."""
        task = "the request's task" if self.task is None else f"task {self.task}"
        return f"the eval score of {self.model} on {task} is at least {self.score_min:g}"

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request met instead, in words."""
        score = self.figure(facts, situation, now)
        return "there is no such score" if score is None else f"it is {score:g}"

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        return (
            isinstance(other, QualityAtLeast)
            and (self.model, self.task) == (other.model, other.task)
            and self.score_min >= other.score_min
        )

    def contradicts(self, other: object) -> bool:
        """Never: a good score is good enough for any bound below it."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthDegraded:
    """One of the models is ejected or rate limited, or one of the providers is degraded."""

    kind: ClassVar[str] = "health"

    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.models and not self.providers:
            raise OperandError("models: give at least one model or provider")
        for name in ("models", "providers"):
            if getattr(self, name):
                object.__setattr__(self, name, distinct_texts(getattr(self, name), name))

    def holds(self, facts: Facts, situation: Situation, now: datetime) -> bool:
        return bool(self._ailing(situation))

    def expected(self) -> str:
        """What must hold, in words."""
        models = [f"model {one_of(self.models)}"] if self.models else []
        providers = [f"provider {one_of(self.providers)}"] if self.providers else []
        return f"{' or '.join(models + providers)} is degraded"

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request met instead, in words."""
        ailing = self._ailing(situation)
        return f"{', '.join(ailing)} is degraded" if ailing else "all of them are well"

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        return (
            isinstance(other, HealthDegraded)
            and set(self.models) <= set(other.models)
            and set(self.providers) <= set(other.providers)
        )

    def contradicts(self, other: object) -> bool:
        """Never: anything may be degraded at once."""
        return False

    def _ailing(self, situation: Situation) -> list[str]:
        fleet = situation.fleet
        models = [name for name in self.models if fleet.is_ailing(name)]
        return models + [name for name in self.providers if name in fleet.degraded_providers]
