"""Training curves: one JSON object a line, the same as TensorBoard events, and one PNG plot of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # the backend must be chosen first
from matplotlib.figure import Figure
from tensorboardX import SummaryWriter

CURVES_FILE = "curves.jsonl"
NOT_LOSSES = {"update", "seconds", "gradient_norm", "temperature", "teacher_entropy", "teacher_spread"}
"""What stages record besides their losses; TensorBoard has them."""


class Curves:
    """Appends points to `curves.jsonl` of a run's folder; after a resume, points past the resumed update are dropped."""

    def __init__(self, folder: Path, from_update: int) -> None:
        self.path = folder / CURVES_FILE
        kept = [point for point in read_curves(folder) if point["update"] <= from_update]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(point) + "\n" for point in kept), encoding="utf-8")
        partial.replace(self.path)
        self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=from_update + 1)
        self._observed: dict[str, list[float]] = {}

    def observe(self, losses: dict[str, float]) -> None:
        """Of one update; not every update has every loss."""
        for name, value in losses.items():
            self._observed.setdefault(name, []).append(value)

    def flush(self, update: int, scalars: dict[str, float]) -> None:
        """A point with the means of what was observed since the last one."""
        means = {name: round(sum(values) / len(values), 5) for name, values in self._observed.items()}
        self._observed = {}
        self.add({"update": update, **means, **scalars})

    def add(self, point: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")
        for key, value in point.items():
            named = {f"{key}/{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
            for name, item in named.items():
                if name != "update":
                    self._tensorboard.add_scalar(name, item, point["update"])
        self._tensorboard.flush()


def read_curves(folder: Path) -> list[dict[str, Any]]:
    """All points; a last line cut by a kill is dropped."""
    path = folder / CURVES_FILE
    if not path.exists():
        return []
    points: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return points


def plot_curves(folder: Path, path: Path, title: str) -> None:
    figure = draw_curves(read_curves(folder), title)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_curves(points: list[dict[str, Any]], title: str) -> Figure:
    """Losses in the first panel, each evaluated group of metrics in one of its own."""
    losses = {key for point in points for key, value in point.items() if not isinstance(value, dict)} - NOT_LOSSES
    groups = list(dict.fromkeys(key for point in points for key, value in point.items() if isinstance(value, dict)))
    figure, panels = plt.subplots(
        1, 1 + len(groups), figsize=(5.5 * (1 + len(groups)), 4.2), constrained_layout=True, squeeze=False
    )
    first, *others = panels[0]
    for loss in sorted(losses):
        _draw(first, [(point["update"], point[loss]) for point in points if loss in point], loss)
    first.set(title="training losses", xlabel="update", ylabel="nats")
    for axes, group in zip(others, groups, strict=True):
        evaluated = [(point["update"], point[group]) for point in points if group in point]
        for metric in sorted({key for _, metrics in evaluated for key in metrics}):
            _draw(axes, [(update, metrics[metric]) for update, metrics in evaluated if metric in metrics], metric)
        axes.set(title=group.replace("_", " "), xlabel="update")
    for axes in panels[0]:
        if axes.dataLim.y0 >= 0:  # a logit-Laplace loss, of a density, goes below
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    figure.suptitle(title)
    return figure


def _draw(axes: Any, series: list[tuple[int, float]], label: str) -> None:
    axes.plot(*zip(*series, strict=True), label=label, linewidth=1, marker="." if len(series) < 40 else "")
