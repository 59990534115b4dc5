"""`eval -- retrieval`: the emoji set's splits through both engines beside floors, and what quantization costs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from flava_gpu.evaluation.confidence import Estimate
from flava_gpu.evaluation.emoji import Picture, of
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.pixels import Kind, class_scores, pixel_features
from flava_gpu.evaluation.retrieval import (
    CUTOFFS,
    DIRECTIONS,
    Direction,
    Gallery,
    Ranked,
    RetrievalTask,
    average_precisions,
    best_ranks,
    rank_task,
)

Item = TypeVar("Item")
GATED_SPLIT = "A"
"""Small splits are shown and not gated: one query of split C is 0.63 points."""
SPLITS_WITH_PIXELS = ("A", "dev")
"""Their concepts were trained on, so that nearest training pictures are an answer."""
FLOOR_KINDS: dict[str, Kind] = {"pixels": "canvas", "pixels-trimmed": "trimmed"}


@dataclass(frozen=True)
class Row:
    """Recalls in percent, to two decimals: finer than one query of any split."""

    split: str
    engine: str
    direction: Direction
    recalls: tuple[float, ...]
    intervals: tuple[Estimate, ...] | None
    n: int

    def to_json(self) -> dict[str, Any]:
        """Exactly the keys, in the order, that readers of --json and scores.json were promised."""
        return {
            "suite": "retrieval",
            "split": self.split,
            "engine": self.engine,
            "direction": self.direction,
            **{f"r{k}": recall for k, recall in zip(CUTOFFS, self.recalls, strict=True)},
            "n": self.n,
        }


@dataclass(frozen=True)
class Cost:
    """Points of R@1 that fp32 is ahead of the edge engine; negative when it is behind."""

    split: str
    direction: Direction
    points: float

    @property
    def is_gated(self) -> bool:
        return self.split == GATED_SPLIT

    def to_json(self) -> dict[str, Any]:
        return {"split": self.split, "direction": self.direction, "points": self.points, "isGated": self.is_gated}


def rank_model(model: EvaluatedModel, task: RetrievalTask, direction: Direction) -> Ranked:
    return rank_task(
        task,
        lambda gallery: (model.images(gallery.images, "projected"), model.texts(gallery.texts, "projected")),
        direction,
    )


def score_model(model: EvaluatedModel, tasks: Sequence[RetrievalTask]) -> list[Row]:
    model.texts(_distinct(text for task in tasks for gallery in task.galleries for text in gallery.texts), "projected")
    model.images(
        _distinct(image for task in tasks for gallery in task.galleries for image in gallery.images), "projected"
    )
    return [
        _row(task, model.encoder.name, direction, rank_model(model, task, direction))
        for task in tasks
        for direction in DIRECTIONS
    ]


def score_chance(tasks: Sequence[RetrievalTask]) -> list[Row]:
    """Guessing, on the same queries and candidates."""
    rows = []
    for task in tasks:
        for direction in DIRECTIONS:
            ranked = rank_task(task, _no_vectors, direction)
            recalls = tuple(_percent(ranked.chance_recall(k)) for k in CUTOFFS)
            rows.append(Row(task.name, "chance", direction, recalls, None, len(ranked.ranks)))
    return rows


def score_pixels(tasks: Sequence[RetrievalTask], pictures: Sequence[Picture]) -> list[Row]:
    """A concept's score is its most similar training picture; pictures rank concepts, and concepts rank pictures."""
    training = of(pictures, "train-style", "train")
    rows = []
    for task in tasks:
        if task.name not in SPLITS_WITH_PIXELS:
            continue
        for engine, kind in FLOOR_KINDS.items():
            rows += [
                _row(task, engine, direction, ranked)
                for direction, ranked in zip(DIRECTIONS, rank_pixels(task, training, kind), strict=True)
            ]
    return rows


def rank_pixels(task: RetrievalTask, training: Sequence[Picture], kind: Kind) -> tuple[Ranked, Ranked]:
    """Of a task with one gallery that shows each concept once; both directions read the same scores."""
    (gallery,) = task.galleries
    concepts = [str(group) for group in gallery.groups]
    position = {concept: index for index, concept in enumerate(concepts)}
    known = [picture for picture in training if picture.concept in position]
    scores = class_scores(
        pixel_features(gallery.images, kind),
        pixel_features([picture.path for picture in known], kind),
        np.array([position[picture.concept] for picture in known]),
        len(concepts),
    )
    flags = np.eye(len(concepts), dtype=bool)
    count = np.full(len(concepts), len(concepts))

    def ranked(values: np.ndarray) -> Ranked:
        return Ranked(
            best_ranks(values, flags),
            average_precisions(values, flags),
            count,
            np.ones_like(count),
            list(gallery.groups),
        )

    return ranked(scores), ranked(scores.T)


def quantization_costs(rows: Sequence[Row]) -> list[Cost]:
    edge = {(row.split, row.direction): row.recalls[0] for row in rows if row.engine == "edge"}
    return [
        Cost(row.split, row.direction, round(row.recalls[0] - edge[row.split, row.direction], 2))
        for row in rows
        if row.engine == "torch" and (row.split, row.direction) in edge
    ]


def is_within_gate(costs: Sequence[Cost], gate_points: float) -> bool:
    return all(cost.points <= gate_points for cost in costs if cost.is_gated)


def format_table(tasks: Sequence[RetrievalTask], rows: Sequence[Row]) -> str:
    """A block per split; 95 % intervals in brackets for engines and pixel floors."""
    lines = []
    for task in tasks:
        header = "direction".ljust(10) + "engine".ljust(16) + "".join(f"R@{k}".center(22) for k in CUTOFFS) + "n"
        lines += ["", f"{task.name}: {task.about}", header]
        lines += [
            _line(row)
            for direction in DIRECTIONS
            for row in rows
            if (row.split, row.direction) == (task.name, direction)
        ]
    return "\n".join(lines)


def format_costs(costs: Sequence[Cost], gate_points: float) -> str:
    if not costs:
        return "quantization cost: needs both engines (--engine both)"
    lines = ["quantization cost, fp32 less edge:"]
    for cost in costs:
        verdict = "within" if cost.points <= gate_points else "ABOVE"
        gate = f"{verdict} the gate of {gate_points:g}" if cost.is_gated else "not gated"
        lines.append(f"  {cost.split:6}{cost.direction}  {cost.points:6.2f} points of R@1, {gate}")
    return "\n".join(lines)


def print_json(rows: Sequence[Row]) -> None:
    for row in rows:
        print(json.dumps(row.to_json(), separators=(",", ":")))


def _row(task: RetrievalTask, engine: str, direction: Direction, ranked: Ranked) -> Row:
    estimates = tuple(ranked.recall(k) for k in CUTOFFS)
    return Row(task.name, engine, direction, tuple(_percent(e.value) for e in estimates), estimates, len(ranked.ranks))


def _line(row: Row) -> str:
    cells = [
        (f"{recall:.2f}" if row.intervals is None else f"{recall:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]").center(
            22
        )
        for recall, e in zip(row.recalls, row.intervals or (Estimate(0, 0, 0),) * len(CUTOFFS), strict=True)
    ]
    return row.direction.ljust(10) + row.engine.ljust(16) + "".join(cells) + str(row.n)


def _no_vectors(gallery: Gallery) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.zeros((len(gallery.images), 1), np.float32), np.zeros((len(gallery.texts), 1), np.float32)


def _percent(share: float) -> float:
    return round(100 * share, 2)


def _distinct(items: Iterable[Item]) -> list[Item]:
    return list(dict.fromkeys(items))
