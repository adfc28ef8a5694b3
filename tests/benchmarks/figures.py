"""A measured figure, with all its rounds."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    name: str
    rounds: list[float]
    unit: str
    aim: str | None = None

    def spread(self) -> tuple[float, float, float]:
        return min(self.rounds), statistics.median(self.rounds), max(self.rounds)


def ratios(name: str, measured: list[float], floor: list[float], aim: str | None = None) -> Figure:
    """Round by round, so that a machine whose speed drifts does not spoil the comparison."""
    return Figure(name, [a / b for a, b in zip(measured, floor, strict=True)], "x", aim)
