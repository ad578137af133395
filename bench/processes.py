"""Real processes, and what they cost: CPU and memory as the kernel accounts for them."""

import os
from collections.abc import Iterator
from pathlib import Path

CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")


def descendants(root: int) -> Iterator[int]:
    """The process `root` and all of its descendants that are alive."""
    parents: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat_fields(int(entry.name))
            if fields is not None:
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    pending = [root]
    while pending:
        pid = pending.pop()
        yield pid
        pending.extend(parents.get(pid, []))


def cpu_seconds(root: int) -> float:
    """User and system time of `root` and its descendants, those included that have ended and were waited for."""
    total = 0
    for pid in descendants(root):
        fields = _stat_fields(pid)
        if fields is not None:
            total += sum(int(ticks) for ticks in fields[11:15])
    return total / CLOCK_TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Memory that the process holds."""
    return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE_BYTES


def _stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on (proc(5), field 3); None when the process is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
