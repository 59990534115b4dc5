"""What a suite hands to the tables: predictions with their targets, then scores with intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flava_gpu.evaluation.confidence import Estimate, bootstrap, of_share
from flava_gpu.evaluation.metrics import Ids, Metric, accuracy, mean_per_class
from flava_gpu.evaluation.tasks import Splits


@dataclass(frozen=True)
class Outcome:
    """Predictions of the test items."""

    targets: Ids
    predicted: Ids
    groups: Sequence[Hashable] | None
    chosen: dict[str, Any] = field(default_factory=dict)
    """What validation chose, fold by fold."""

    @classmethod
    def of_folds(cls, folds: Sequence[Splits], predicted: Sequence[Ids], chosen: dict[str, Any]) -> Outcome:
        groups: list[Hashable] = []
        for fold in folds:
            groups += fold.test.groups or []
        targets = np.concatenate([fold.test.targets for fold in folds])
        return cls(targets, np.concatenate(predicted), groups if len(groups) == len(targets) else None, chosen)

    def estimate(self, metric: Metric) -> Estimate:
        """Wilson's interval for accuracy over independent items, the bootstrap for everything else."""
        if metric is accuracy:
            return of_share(self.targets == self.predicted, self.groups)
        return bootstrap(
            lambda items: metric(self.targets[items], self.predicted[items]), len(self.targets), self.groups
        )

    @property
    def accuracy(self) -> Estimate:
        return self.estimate(accuracy)

    @property
    def mean_per_class(self) -> float:
        return mean_per_class(self.targets, self.predicted)


@dataclass(frozen=True)
class Floor:
    """What is reached without the model."""

    name: str
    value: float


@dataclass(frozen=True)
class Score:
    """A line of a table; shares in [0, 1]."""

    task: str
    about: str
    suite: str
    metric: str
    n: int
    got: Estimate
    floors: tuple[Floor, ...]
    classes: int | None = None
    engine: str = ""
    mean_per_class: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Percentages to two decimals, so that they compare with the tables as printed."""
        return {
            "suite": self.suite,
            "task": self.task,
            "about": self.about,
            "engine": self.engine,
            "metric": self.metric,
            "n": self.n,
            "classes": self.classes,
            "got": _percent(self.got.value),
            "low": _percent(self.got.low),
            "high": _percent(self.got.high),
            "mean_per_class": None if self.mean_per_class is None else _percent(self.mean_per_class),
            "floors": {floor.name: _percent(floor.value) for floor in self.floors},
            "details": self.details,
        }


def _percent(share: float) -> float:
    return round(100 * share, 2)
