"""Whom to ask next, and with which credential."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dispatch_app.execution.credentials import in_order
from dispatch_app.execution.envelope import Envelope
from dispatch_app.execution.ports import CredentialsOf, Health, Target, TargetReport
from policies_app.routing.codes import FaultClass
from policies_app.routing.types import Candidate

_NO_CALL = TargetReport(
    fault=FaultClass.SUPERSEDED, retry_after_s=None, first_byte_ms=None, total_ms=0, output_tokens=0
)


@dataclass(slots=True, kw_only=True, eq=False)
class _Entry:
    """One candidate of the plan, and the credentials that it was asked with."""

    candidate: Candidate
    tried: set[int] = field(default_factory=set)


class Targets:
    """The candidates still to be asked, each once, in order, with whichever credential of theirs takes traffic.

    Those that are ejected with every credential come only if no other is left. A candidate whose credential was at fault
    is asked again with the next one that takes traffic, before the others; but the last call that the envelope has is for
    a model that was not asked yet, if one takes traffic. `subject` decides which credential comes first.
    """

    def __init__(
        self,
        candidates: tuple[Candidate, ...],
        *,
        health: Health,
        credentials_of: CredentialsOf,
        subject: str,
        envelope: Envelope,
    ) -> None:
        self._waiting = [_Entry(candidate=candidate) for candidate in candidates]
        self._rotating: list[_Entry] = []
        self._asked: dict[object, _Entry] = {}
        self._health = health
        self._credentials_of = credentials_of
        self._subject = subject
        self._envelope = envelope
        self._bound_forbidden: int | None = None
        self._had_last_resort = False

    def take(self) -> Target | None:
        """The next target, None if there is none left."""
        sources = [self._rotating, self._waiting]
        if self._envelope.attempts_left < 2:
            sources.reverse()
        for source in sources:
            for entry, target in self._untried(source):
                if self._health.admits(target):
                    return self._give(entry, target, source)
        ejected = {target: entry for entry, target in self._untried(self._waiting)}
        if not ejected or self._had_last_resort:
            return None
        self._had_last_resort = True
        target = min(ejected, key=self._health.badness)
        return self._give(ejected[target], target, self._waiting)

    def release(self, target: Target) -> None:
        """Nothing was asked of `target`: somebody else may probe it."""
        self._health.report(target, _NO_CALL)

    def rotate(self, target: Target) -> None:
        """The credential of `target` was at fault: its model may be asked with another one."""
        entry = self._asked.get(target.asker)
        if entry is not None and entry not in self._rotating:
            self._rotating.append(entry)

    def beside(self, candidate: Candidate) -> Target:
        """Whom to ask of a candidate that is not the plan's, such as a judge. What a budget forbids is the ledger's to say."""
        targets = [
            Target(candidate=candidate, credential=credential)
            for credential in in_order(self._credentials_of(candidate), subject=self._subject)
        ]
        if len(targets) == 1:
            return targets[0]
        return next((target for target in targets if self._health.admits(target)), targets[0])

    @property
    def has_more(self) -> bool:
        """Whether there is a candidate that has not been asked."""
        return any(self._fits(entry.candidate) for entry in self._waiting)

    def forbid_bounds_from(self, bound_nanos: int) -> None:
        """Leave out candidates that reserve as much as one that a budget could not cover."""
        known = self._bound_forbidden
        self._bound_forbidden = bound_nanos if known is None else min(known, bound_nanos)

    def _untried(self, entries: Iterable[_Entry]) -> Iterator[tuple[_Entry, Target]]:
        """Every target that could be asked of these and was not, in order."""
        for entry in entries:
            candidate = entry.candidate
            if not self._fits(candidate):
                continue
            for credential in in_order(self._credentials_of(candidate), subject=self._subject):
                if credential.id not in entry.tried:
                    is_rotated = bool(entry.tried)
                    yield (
                        entry,
                        Target(candidate=candidate, credential=credential, is_rotated=is_rotated),
                    )

    def _give(self, entry: _Entry, target: Target, source: list[_Entry]) -> Target:
        source.remove(entry)
        entry.tried.add(target.credential.id)
        self._asked[target.asker] = entry
        return target

    def _fits(self, candidate: Candidate) -> bool:
        return self._bound_forbidden is None or candidate.bound_nanos < self._bound_forbidden
