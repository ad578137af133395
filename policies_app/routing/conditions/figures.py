"""Conditions on a figure that must lie in a range."""

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime

from policies_app.routing.types import Facts, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureCondition:
    """A figure lies in a range. Where there is no such figure, it lies in none.

    Conditions of one kind and `subject` look at the same figure, so that it need be found only once for all of them.
    """

    @property
    def subject(self) -> Hashable:
        """What the figure is of, beside the request and the moment."""
        raise NotImplementedError

    @property
    def bounds(self) -> tuple[float, float]:
        """The range: its least figure, and the one that it ends just below."""
        raise NotImplementedError

    def figure(self, facts: Facts, situation: Situation, now: datetime) -> float | None:
        """The figure that the condition goes by, None if there is none."""
        raise NotImplementedError

    def holds(self, facts: Facts, situation: Situation, now: datetime) -> bool:
        figure = self.figure(facts, situation, now)
        least, below = self.bounds
        return figure is not None and least <= figure < below
