"""Scores as a person reads them: a Markdown table, JSON with what is needed to make it again, and one picture."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # the backend must be chosen first
from matplotlib.patches import Rectangle

from flava_gpu.evaluation.scores import Floor, Score

COLUMNS = ("chance", "majority", "pixel nn", "pixel ridge", "bag of words", "other")
"""Of floors; what has none of these names stands in the last one."""
SUITES = ("retrieval", "zero-shot", "linear probe", "fine-tuned", "ITM", "masked")


@dataclass(frozen=True)
class Report:
    title: str
    scores: Sequence[Score]
    skipped: Sequence[str] = ()
    """What was not run, and why."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Command, date, CPU, model and data."""


def origin_of(command: str, model: dict[str, Any], data: str | None) -> dict[str, Any]:
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"command": command, "date": date, "cpu": cpu_name(), "model": model, "data": data}


def in_order(scores: Sequence[Score]) -> list[Score]:
    return sorted(scores, key=lambda score: SUITES.index(score.suite))


def format_markdown(report: Report) -> str:
    head = ["task", "how", "metric", "n", "got (95 %)", "per class", *COLUMNS]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for score in in_order(report.scores):
        floors = {floor.name: f"{100 * floor.value:.1f}" for floor in score.floors}
        other = ", ".join(f"{name} {value}" for name, value in floors.items() if name not in COLUMNS)
        per_class = "" if score.mean_per_class is None else f"{100 * score.mean_per_class:.1f}"
        classes = "" if score.classes is None else f" ({score.classes})"
        cells = [
            score.task + classes,
            f"{score.suite}, {score.engine}",
            score.metric,
            str(score.n),
            f"**{100 * score.got.value:.1f}** ({100 * score.got.low:.1f} to {100 * score.got.high:.1f})",
            per_class,
            *(floors.get(name, "") for name in COLUMNS[:-1]),
            other,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"\nNot run: {reason}" for reason in report.skipped]
    return "\n".join(lines)


def write_report(report: Report, folder: Path, name: str) -> list[Path]:
    """`<name>.json`, `.md` and `.png` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("json", "md", "png")]
    content = {
        **report.origin,
        "skipped": list(report.skipped),
        "rows": [score.to_json() for score in in_order(report.scores)],
    }
    paths[0].write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    origin = f"`{report.origin.get('command')}`, {report.origin.get('date', '')[:10]}, {report.origin.get('cpu')}"
    paths[1].write_text(f"{format_markdown(report)}\n\n{origin}\n", encoding="utf-8")
    plot(report, paths[2])
    return paths


def plot(report: Report, path: Path) -> None:
    """A bar a row with its interval; floors as marks, the highest one filled."""
    scores = in_order(report.scores)
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(scores) + 1.6), constrained_layout=True)
    colours = {suite: f"C{number}" for number, suite in enumerate(SUITES)}
    for height, score in enumerate(reversed(scores)):
        value, low, high = (100 * part for part in (score.got.value, score.got.low, score.got.high))
        axes.barh(height, value, color=colours[score.suite], alpha=0.75, height=0.7)
        error = [[max(0.0, value - low)], [max(0.0, high - value)]]
        axes.errorbar(value, height, xerr=error, fmt="none", ecolor="black", capsize=2, linewidth=1)
        floor = highest(score.floors)
        for other in score.floors:
            axes.plot(100 * other.value, height, "|", color="grey", markersize=9)
        if floor is not None:
            axes.plot(100 * floor.value, height, "D", color="black", markersize=4)
    axes.set_yticks(range(len(scores)), [f"{score.task}, {score.metric}" for score in reversed(scores)], fontsize=8)
    axes.set(xlim=(0, 100), xlabel="%, with 95 % intervals; grey: floors, ◆: the highest floor", title=report.title)
    axes.grid(axis="x", alpha=0.3)
    handles = [
        Rectangle((0, 0), 1, 1, color=colours[s], alpha=0.75) for s in SUITES if any(x.suite == s for x in scores)
    ]
    axes.legend(handles, [s for s in SUITES if any(x.suite == s for x in scores)], loc="lower right", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def highest(floors: Sequence[Floor]) -> Floor | None:
    return max(floors, key=lambda floor: floor.value, default=None)


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
