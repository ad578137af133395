"""The ledger's SQL functions, as text.

The ledger's transactions are one function call each, and so one round trip: a process that stops between two statements can
never be left holding a lock on a budget. They are installed after every migrate (see `dispatch_app.apps`).

Each statement of a volatile function has a snapshot of its own. Balances are locked in order of their id and read in a
*following* statement, because the snapshot of the statement that locks may be older than its locks.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"
_IN_ORDER = (
    "kill_switches",
    "limits",
    "idempotency",
    "begin",
    "finish",
    "settlements",
    "correct",
    "settle",
    "expire",
)
"""Each after those that it calls."""

FUNCTIONS_SQL = "\n\n".join((_FOLDER / f"{name}.sql").read_text(encoding="utf-8") for name in _IN_ORDER)
