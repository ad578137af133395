"""How many answers a process reads on at once though their clients hung up."""

MOST_DRAINS = 256
"""Callers who come and go in crowds are not what connections are kept for."""


class Drains:
    """Counts the dispatches that are being drained."""

    def __init__(self, *, most: int = MOST_DRAINS) -> None:
        self._left = most

    def start(self) -> bool:
        """Begin one; False if there are too many. It is over by `end`."""
        if not self._left:
            return False
        self._left -= 1
        return True

    def end(self) -> None:
        """One is over."""
        self._left += 1
