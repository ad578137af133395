"""Vectors as vendors give them and as clients want them. Pure.

Nothing is rounded that need not be: numbers that a vendor wrote down stay as they are for clients that want numbers, and
bytes for those that want bytes.
"""

import math
import struct

Vector = bytes | list[float]
"""Numbers as a vendor wrote them down; or 32-bit floats one after the other, the least significant byte of each first."""

_BYTES_OF_A_FLOAT = 4
_LARGEST_FLOAT = 3.4028234663852886e38
_HUGE = (0x7F, 0xFF)
"""The last byte of what is no number, is infinite, or is so large that no vector has it: looked for first, because it is quick."""


def numbers_of(vector: Vector) -> list[float]:
    """The numbers of a vector."""
    if isinstance(vector, list):
        return vector
    return list(struct.unpack(f"<{size_of(vector)}f", vector))


def bytes_of(vector: Vector) -> bytes:
    """A vector as 32-bit floats."""
    return vector if isinstance(vector, bytes) else struct.pack(f"<{len(vector)}f", *vector)


def size_of(vector: Vector) -> int:
    """How many numbers there are."""
    return len(vector) // _BYTES_OF_A_FLOAT if isinstance(vector, bytes) else len(vector)


def is_sound(vector: Vector) -> bool:
    """Whether there are numbers, and each of them is finite and a 32-bit float."""
    if not vector:
        return False
    if isinstance(vector, list):
        return min(vector) >= -_LARGEST_FLOAT and max(vector) <= _LARGEST_FLOAT
    last = vector[_BYTES_OF_A_FLOAT - 1 :: _BYTES_OF_A_FLOAT]
    is_usual = not any(byte in last for byte in _HUGE)
    return len(vector) % _BYTES_OF_A_FLOAT == 0 and (is_usual or all(map(math.isfinite, numbers_of(vector))))
