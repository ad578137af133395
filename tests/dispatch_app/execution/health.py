"""Health as a test wants it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from dispatch_app.execution.ports import TargetReport
from policies_app.routing.types import Candidate


@dataclass(kw_only=True)
class ScriptedHealth:
    """Ejects the models that it is told to, least bad first, and keeps what is reported."""

    ejected: Iterable[str] = ()
    reports: list[tuple[str, TargetReport]] = field(default_factory=list)

    def admits(self, candidate: Candidate) -> bool:
        return candidate.model.name not in self.ejected

    def badness(self, candidate: Candidate) -> float:
        return list(self.ejected).index(candidate.model.name)

    def report(self, candidate: Candidate, report: TargetReport) -> None:
        self.reports.append((candidate.model.name, report))

    @property
    def faults(self) -> list[tuple[str, object]]:
        return [(model, report.fault) for model, report in self.reports]
