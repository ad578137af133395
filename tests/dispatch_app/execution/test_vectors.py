"""Vectors are not altered on their way, whichever form they come and go in."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.execution.vectors import bytes_of, is_sound, numbers_of, size_of

floats = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40)


@given(floats)
def test_numbers_and_bytes_are_the_same_vector(numbers: list[float]) -> None:
    packed = struct.pack(f"<{len(numbers)}f", *numbers)

    assert numbers_of(packed) == numbers_of(numbers) == numbers
    assert bytes_of(numbers) == bytes_of(packed) == packed
    assert size_of(numbers) == size_of(packed) == len(numbers)
    assert is_sound(numbers)
    assert is_sound(packed)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@given(floats, floats)
def test_one_number_that_is_none_spoils_a_vector(
    number: float, before: list[float], after: list[float]
) -> None:
    numbers = [*before, number, *after]

    assert not is_sound(struct.pack(f"<{len(numbers)}f", *numbers))


def test_numbers_that_are_finer_than_32_bits_stay_so_for_who_wants_numbers() -> None:
    assert numbers_of([0.1]) == [0.1]
    assert bytes_of([0.1]) == struct.pack("<f", 0.1)
