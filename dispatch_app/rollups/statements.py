"""The rollups' SQL by name, read from `statements.sql`, and how to run it on Django's connection."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django.db import connection

_PATH = Path(__file__).parent / "statements.sql"
_NAME = re.compile(r"^-- ([a-z_]+) --$", re.MULTILINE)

Row = dict[str, Any]
Values = Mapping[str, Any]


def parse_statements(text: str) -> dict[str, str]:
    """The blocks of an SQL file by their names. What stands before the first name is a preamble.

    :raises ValueError: if two blocks have one name.
    """
    _preamble, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) < len(names):
        raise ValueError(f"A name stands on two blocks: {sorted(names)}.")
    return {name: body.strip() for name, body in zip(names, bodies, strict=True)}


@cache
def _statements() -> dict[str, str]:
    return parse_statements(_PATH.read_text(encoding="utf-8"))


def fetch(name: str, values: Values | None = None) -> list[Row]:
    """Run the statement of that name and answer its rows."""
    with connection.cursor() as cursor:
        # Named values are always passed, so that %% means % in every statement.
        cursor.execute(_statements()[name], values or {})
        columns = [column.name for column in cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def fetch_one(name: str, values: Values | None = None) -> Row:
    """Run a statement that answers exactly one row."""
    (row,) = fetch(name, values)
    return row


def execute(name: str, values: Values | None = None) -> int:
    """Run a statement that answers no rows; answers how many it wrote."""
    with connection.cursor() as cursor:
        cursor.execute(_statements()[name], values or {})
        return int(cursor.rowcount)
