"""The ledger's SQL functions, as text."""

from pathlib import Path

FUNCTIONS_SQL = (Path(__file__).parent / "functions.sql").read_text(encoding="utf-8")
