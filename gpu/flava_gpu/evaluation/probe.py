"""Linear probes: the model frozen, scikit-learn's logistic regression on one tensor of it.

CLIP's protocol, which the paper follows (supplement): L-BFGS, at most 1,000 iterations, features as they are, the l2 strength
chosen on the validation split, then a fit on training and validation items together, looked at on the test split once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from flava_gpu.evaluation.metrics import Ids, accuracy
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.scores import Outcome
from flava_gpu.evaluation.tasks import Examples, Splits, Task
from flava_gpu.l2_sweep import MAX_ITERATIONS, sweep_l2

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Probed:
    fitted: Fitted
    """On training and validation items."""
    predicted: Ids
    """Of the test items."""
    l2: float
    validation_accuracy: float


@dataclass(frozen=True)
class Prepared:
    """A task with its features: all that fitting needs, so that it can go to another process."""

    task: Task
    folds: list[Splits]
    features: list[tuple[Features, Features, Features]]
    """Of each fold's training, validation and test items, f32 [items, width]."""


def prepare(model: EvaluatedModel, task: Task) -> Prepared:
    """Splits and folds share items, and an engine takes a second to start: all are represented at once."""
    folds = task.checked_splits()
    parts = [part for fold in folds for part in (fold.train, fold.validation, fold.test)]
    everything = model.represent(Examples.joined(parts), task.representation)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    features = np.split(everything, ends)
    threes = zip(features[::3], features[1::3], features[2::3], strict=True)
    return Prepared(task, folds, list(threes))


def probe_task(prepared: Prepared) -> Outcome:
    """Test predictions of all folds, put together."""
    pairs = zip(prepared.features, prepared.folds, strict=True)
    probed = [probe(*features, fold) for features, fold in pairs]
    return Outcome.of_folds(prepared.folds, [one.predicted for one in probed], {"l2": [one.l2 for one in probed]})


def probe(train: Features, validation: Features, test: Features, splits: Splits) -> Probed:
    """Features f32 [items, width] of the three splits; labels come from `splits`."""
    targets, held_targets = splits.train.targets, splits.validation.targets
    accuracies: dict[float, float] = {}

    def score(l2: float) -> tuple[float, float]:
        fitted = fit(train, targets, l2)
        probabilities = fitted.probabilities(validation)
        accuracies[l2] = accuracy(held_targets, fitted.classes[probabilities.argmax(axis=1)])
        return accuracies[l2], -cross_entropy(held_targets, probabilities, fitted.classes)

    l2 = sweep_l2(score)
    both = fit(np.concatenate([train, validation]), np.concatenate([targets, held_targets]), l2)
    return Probed(both, both.classes[both.probabilities(test).argmax(axis=1)], l2, accuracies[l2])


@dataclass(frozen=True)
class Fitted:
    classifier: LogisticRegression
    mean: Features

    @property
    def classes(self) -> Ids:
        """Of the columns of `probabilities`: those that were trained on."""
        return self.classifier.classes_

    def probabilities(self, features: Features) -> NDArray[np.float64]:
        return self.classifier.predict_proba(features - self.mean)


def fit(features: Features, targets: Ids, l2: float) -> Fitted:
    """Minimizes the summed cross entropy + l2/2 |weight|²; scikit-learn calls 1/l2 C.

    Works on centred features, which the unpunished intercept undoes: the same minimum in half the iterations.
    """
    mean = features.mean(axis=0, keepdims=True)
    classifier = LogisticRegression(C=1 / l2, max_iter=MAX_ITERATIONS, solver="lbfgs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the protocol stops at 1,000 iterations
        return Fitted(classifier.fit(features - mean, targets), mean)


def cross_entropy(targets: Ids, probabilities: NDArray[np.float64], classes: Ids) -> float:
    """Mean over the items whose class was trained on; it decides between equal accuracies."""
    columns = np.searchsorted(classes, targets)
    is_known = np.isin(targets, classes)
    chosen = probabilities[is_known, columns[is_known]]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean()) if is_known.any() else 0.0
