"""Health as a test wants it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from dispatch_app.execution.ports import Target, TargetReport


@dataclass(kw_only=True)
class ScriptedHealth:
    """Ejects the models, or `model/credential`, that it is told to, least bad first, and keeps what is reported."""

    ejected: Iterable[str] = ()
    reports: list[tuple[str, TargetReport]] = field(default_factory=list)

    def admits(self, target: Target) -> bool:
        return not self._names(target) & set(self.ejected)

    def badness(self, target: Target) -> float:
        return min(place for place, name in enumerate(self.ejected) if name in self._names(target))

    def report(self, target: Target, report: TargetReport) -> None:
        self.reports.append((target.model.name, report))

    def _names(self, target: Target) -> set[str]:
        model, credential = target.model.name, target.credential.name
        return {model, f"{model}/{credential}"}

    @property
    def faults(self) -> list[tuple[str, object]]:
        return [(model, report.fault) for model, report in self.reports]
