"""Chance without a generator: every draw is a hash, so that the same question gets the same answer."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

_Option = TypeVar("_Option")
_SCALE = float(1 << 64)


def draw(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts and on nothing else."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _SCALE


def pick(options: Sequence[_Option], *parts: object) -> _Option:
    """Return one of the options, always the same one for the same parts."""
    return options[int(draw(*parts) * len(options))]
