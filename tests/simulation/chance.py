"""Chance in words. Every part of a simulation has its own, so that more draws in one do not change another."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Chance(Random):
    """Random numbers of one part of one seed; the same in every process, whatever PYTHONHASHSEED is."""

    def __init__(self, seed: int, part: str) -> None:
        super().__init__(f"{part} {seed}")

    def hits(self, share: float) -> bool:
        """True in that share of cases."""
        return self.random() < share

    def one_of(self, *options: T) -> T:
        return options[int(self.random() * len(options))]

    def some_of(self, options: Sequence[T], share: float) -> list[T]:
        """Each with that probability, in order."""
        return [option for option in options if self.random() < share]

    def number(self, least: int, most: int) -> int:
        """A whole number, both bounds included."""
        return least + int(self.random() * (most - least + 1))

    def span(self, least: float, most: float) -> float:
        """A duration of any magnitude between the two, each magnitude as likely as any other."""
        return float(least * (most / least) ** self.random())
