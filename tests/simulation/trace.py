"""What happened, as one hash."""

import hashlib
from collections.abc import Callable


class Trace:
    """Every event in order. Two runs are the same if their digests are. Lines are kept only for reading."""

    def __init__(self, *, time: Callable[[], float], keeps_lines: bool = False) -> None:
        self.lines: list[str] = []
        self.events = 0
        self._time = time
        self._keeps_lines = keeps_lines
        self._hash = hashlib.blake2b(digest_size=16)

    def note(self, who: str, what: str, *details: object) -> None:
        """An event, with details that are the same in every run."""
        line = f"{self._time():11.6f}  {who:<10} {what} {' '.join(map(str, details))}"
        self.events += 1
        self._hash.update(line.encode())
        if self._keeps_lines:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
