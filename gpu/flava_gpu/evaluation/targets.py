"""`eval -- targets`: what the embedded model was to reach, and what it reaches. The numbers of must and aim are the project's.

Everything is measured on the held-out style or the held-out concepts, through the quantized edge engine. For matching the
encoders' states come from the edge engine too, and the multimodal encoder is the checkpoint's, in PyTorch: it does not run at
the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flava_gpu.evaluation.scores import Score

MIB = 1024 * 1024


@dataclass(frozen=True)
class Target:
    task: str
    suite: str
    metric: str
    title: str
    must: float | None
    """Percent; None where the value is only reported."""
    aim: float | None


TARGETS = (
    Target("A, picture to name", "retrieval", "R@1", "picture to name, held-out style, 1,402 names: R@1", 15, 35),
    Target("A, picture to name", "retrieval", "R@5", "the same, R@5", 35, 60),
    Target("A, name to picture", "retrieval", "R@1", "name to picture, held-out style: R@1", 15, 35),
    Target("A, name to picture", "retrieval", "R@5", "the same, R@5", 35, 60),
    Target("B, picture to name", "retrieval", "R@5", "picture to name, held-out concepts, pool of 158: R@5", 10, 25),
    Target("B, name to picture", "retrieval", "R@5", "name to picture, held-out concepts: R@5", 10, 25),
    Target("emoji group", "linear probe", "accuracy", "group, linear probe", 50, 65),
    Target("emoji subgroup", "linear probe", "accuracy", "subgroup, linear probe", 28, 45),
    Target("ITM, same subgroup", "ITM", "accuracy", "ITM, names of the same subgroup, balanced", 62, 75),
    Target("keyword to pictures", "retrieval", "mAP", "English CLDR keywords to pictures: mAP", None, None),
)
PACKAGE_MIB = (12.0, 8.0)
"""Must and aim of the package's tensors."""
CHECKPOINT_MIB = 25.0


@dataclass(frozen=True)
class Line:
    """A row of the table, and of scores.json."""

    title: str
    unit: str
    must: float | None
    aim: float | None
    got: float
    interval: tuple[float, float] | None
    n: int | None
    floors: dict[str, float]
    verdict: str

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "unit": self.unit,
            "must": self.must,
            "aim": self.aim,
            "got": self.got,
            "low": None if self.interval is None else self.interval[0],
            "high": None if self.interval is None else self.interval[1],
            "n": self.n,
            "floors": self.floors,
            "verdict": self.verdict,
        }


def target_lines(scores: Sequence[Score], package: Path, checkpoint: Path | None) -> list[Line]:
    """In the order of the project's table; a score or a checkpoint that is not there leaves its line out."""
    known = {(score.task, score.suite, score.metric): score for score in scores}
    lines = []
    for target in TARGETS:
        score = known.get((target.task, target.suite, target.metric))
        if score is None:
            continue
        got = round(100 * score.got.value, 2)
        interval = (round(100 * score.got.low, 2), round(100 * score.got.high, 2))
        floors = {floor.name: round(100 * floor.value, 2) for floor in score.floors}
        verdict = judge(got, target.must, target.aim)
        lines.append(Line(target.title, "%", target.must, target.aim, got, interval, score.n, floors, verdict))
    for title, must, aim, folder in (
        ("edge package", *PACKAGE_MIB, package),
        ("checkpoint", CHECKPOINT_MIB, None, checkpoint),
    ):
        if folder is None:
            continue
        got = round(tensors_mib(folder), 2)
        verdict = judge(-got, -must, None if aim is None else -aim)
        lines.append(Line(title, "MiB", must, aim, got, None, None, {}, verdict))
    return lines


def judge(got: float, must: float | None, aim: float | None) -> str:
    if must is None:
        return "reported"
    if aim is not None and got >= aim:
        return "aim reached"
    return "must reached" if got >= must else "missed"


def tensors_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) / MIB


def format_targets(lines: Sequence[Line]) -> str:
    rows = ["| | must | aim | got (95 %) | n | floors | |", "|---|---|---|---|---|---|---|"]
    for line in lines:
        sign = "≤ " if line.unit == "MiB" else ""
        bounds = ["" if bound is None else f"{sign}{bound:g} {line.unit}" for bound in (line.must, line.aim)]
        interval = "" if line.interval is None else f" ({line.interval[0]:.1f} to {line.interval[1]:.1f})"
        floors = ", ".join(f"{name} {value:.1f}" for name, value in line.floors.items())
        count = "" if line.n is None else str(line.n)
        rows.append(
            f"| {line.title} | {bounds[0]} | {bounds[1]} | {line.got:.1f}{interval} | {count} | {floors} | {line.verdict} |"
        )
    return "\n".join(rows)
