"""Bars: a figure, its bound, and whether it held. Printed, written to var/bench, and the exit code."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A figure with the bound that it must not exceed."""

    name: str
    figure: float
    at_most: float
    unit: str

    @property
    def is_held(self) -> bool:
        return self.figure <= self.at_most


@dataclass(slots=True)
class Report:
    """What one bench found."""

    name: str
    figures: list[dict[str, object]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def add_figures(self, **figures: object) -> None:
        """Record and print one line of figures."""
        self.figures.append(figures)
        print("  ".join(f"{name} {_shown(value)}" for name, value in figures.items()), flush=True)

    def finish(self, folder: Path) -> int:
        """Print the bars, write the file and answer the exit code: 1 when a bar was missed."""
        for bar in self.bars:
            verdict = "held" if bar.is_held else "MISSED"
            print(
                f"{verdict:>6}  {bar.name}: {_shown(bar.figure)} {bar.unit} (at most {_shown(bar.at_most)})"
            )
        missed = sum(not bar.is_held for bar in self.bars)
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "figures": self.figures,
            "bars": [asdict(bar) | {"is_held": bar.is_held} for bar in self.bars],
        }
        (folder / f"{self.name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        print(f"{self.name}: {len(self.bars) - missed} bars held, {missed} missed")
        return 1 if missed else 0


def _shown(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
