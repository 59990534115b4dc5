"""Training curves: one JSON object a line while training, one PNG plot of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # the backend must be chosen first

LOSSES = ("contrastive", "mlm", "mmm_text", "itm")


class Curves:
    """Appends points to a JSONL file; after a resume, points past the resumed update are dropped."""

    def __init__(self, path: Path, from_update: int) -> None:
        kept = [point for point in read_curves(path) if point["update"] <= from_update]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(point) + "\n" for point in kept), encoding="utf-8")
        partial.replace(path)
        self.path = path

    def add(self, point: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")


def read_curves(path: Path) -> list[dict[str, Any]]:
    """All points; a last line cut by a kill is dropped."""
    if not path.exists():
        return []
    points: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return points


def plot_curves(points: list[dict[str, Any]], path: Path, title: str) -> None:
    """Losses on the left, recalls on the dev style on the right."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    for loss in LOSSES:
        series = [(point["update"], point[loss]) for point in points if loss in point]
        if series:
            left.plot(*zip(*series, strict=True), label=loss, linewidth=1)
    left.set(title="training losses", xlabel="update", ylabel="nats", ylim=(0, None))
    for key in ("i2t_r1", "t2i_r1", "i2t_r5", "t2i_r5"):
        series = [(point["update"], point["dev_style"][key]) for point in points if "dev_style" in point]
        if series:
            direction = "image to text" if key.startswith("i2t") else "text to image"
            right.plot(*zip(*series, strict=True), marker=".", label=f"{direction} R@{key[-1]}")
    right.set(title="dev style (FxEmojis, unseen drawings)", xlabel="update", ylabel="%", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)
