"""The metrics of a run by step, as they go into checkpoints, the record and a CSV file for the job's owner."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any


class History:
    """`points`: one mapping a report, with its `step`."""

    def __init__(self, points: list[dict[str, Any]]) -> None:
        self.points = points
        self.latest: dict[str, float] = {}
        """The last value of every metric."""
        for point in points:
            self.latest |= {name: value for name, value in point.items() if name != "step"}

    def add(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """Keeps `values` and returns them."""
        self.points.append({"step": step, **values})
        self.latest |= values
        return values

    def write_csv(self, path: Path) -> None:
        """A line a step, a column a metric, empty where it was not measured."""
        lines: dict[int, dict[str, Any]] = {}
        for point in self.points:
            lines.setdefault(point["step"], {}).update(point)
        columns = list(dict.fromkeys(name for point in self.points for name in point))
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["step", *[name for name in columns if name != "step"]])
            writer.writeheader()
            writer.writerows(lines[step] for step in sorted(lines))
