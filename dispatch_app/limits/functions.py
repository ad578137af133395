"""The SQL functions of rate limits, as text. They are installed after every migrate, like the ledger's."""

from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"

FUNCTIONS_SQL = "\n\n".join(
    (_FOLDER / f"{name}.sql").read_text(encoding="utf-8") for name in ("join", "take")
)
