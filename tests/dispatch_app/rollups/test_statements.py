import pytest

from dispatch_app.rollups.statements import parse_statements


def test_each_block_is_found_by_its_name() -> None:
    text = "-- A preamble.\n\n-- first --\n-- Why.\nSELECT 1\n\n-- second --\nSELECT 2 -- not a name --\n"

    assert parse_statements(text) == {"first": "-- Why.\nSELECT 1", "second": "SELECT 2 -- not a name --"}


def test_a_name_on_two_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="two blocks"):
        parse_statements("-- same --\nSELECT 1\n-- same --\nSELECT 2\n")
