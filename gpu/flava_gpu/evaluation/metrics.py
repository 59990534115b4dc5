"""What tasks are scored by. Plain NumPy definitions, small enough to be called for each of a thousand resamplings.

Shares lie in [0, 1]; a table multiplies them by 100. Class ids are integers from 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Ids = NDArray[np.int64]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Metric = Callable[[Ids, Ids], float]
"""Of true class ids [n] and predicted ones [n]."""

TIE = 1e-12
"""Scores this close are equal: sums of products in another order differ by less."""


def accuracy(targets: Ids, predicted: Ids) -> float:
    return float((targets == predicted).mean())


def mean_per_class(targets: Ids, predicted: Ids) -> float:
    """Mean over the classes that occur of the share of each that was found (macro recall)."""
    occurring = np.bincount(targets)
    right = np.bincount(targets[targets == predicted], minlength=len(occurring))
    return float((right[occurring > 0] / occurring[occurring > 0]).mean())


def f1(targets: Ids, predicted: Ids) -> float:
    """Of class 1, as GLUE scores MRPC and QQP; 0 where nothing is found."""
    found = int(((targets == 1) & (predicted == 1)).sum())
    named = int((targets == 1).sum() + (predicted == 1).sum())
    return 2 * found / named if named else 0.0


def macro_f1(targets: Ids, predicted: Ids) -> float:
    """Mean of each class's F1, over the classes that occur or are predicted."""
    classes = max(int(targets.max()), int(predicted.max())) + 1
    right = np.bincount(targets[targets == predicted], minlength=classes)
    named = np.bincount(targets, minlength=classes) + np.bincount(predicted, minlength=classes)
    return float((2 * right[named > 0] / named[named > 0]).mean())


def matthews(targets: Ids, predicted: Ids) -> float:
    """Matthews' correlation for any number of classes (Gorodkin 2004); 0 where one side is constant."""
    classes = max(int(targets.max()), int(predicted.max())) + 1
    table = np.zeros((classes, classes))
    np.add.at(table, (targets, predicted), 1)
    true, named, total = table.sum(axis=1), table.sum(axis=0), table.sum()
    covariance = table.trace() * total - true @ named
    spread = (total**2 - named @ named) * (total**2 - true @ true)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def pearson(targets: Values, predicted: Values) -> float:
    """Correlation of values; 0 where one side is constant."""
    a, b = targets - targets.mean(), predicted - predicted.mean()
    spread = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / spread) if spread > 0 else 0.0


def spearman(targets: Values, predicted: Values) -> float:
    """Correlation of ranks, equal values sharing theirs."""
    return pearson(stats.rankdata(targets), stats.rankdata(predicted))


def auroc(targets: Ids, scores: Values) -> float:
    """Chance that an item of class 1 scores above one of class 0, a tie counting half (Mann-Whitney)."""
    positive = int((targets == 1).sum())
    negative = len(targets) - positive
    if not positive or not negative:
        raise ValueError("AUROC needs both classes")
    rank_sum = stats.rankdata(scores)[targets == 1].sum()
    return float((rank_sum - positive * (positive + 1) / 2) / (positive * negative))


def best_ranks(scores: Values, relevant: Flags) -> Ids:
    """How many wrong candidates stand before the best right one; `scores` and `relevant` are [queries, candidates].

    Ties count against the query, so that a model which gives everything one score is never right by an item's place in a
    list. NaN never wins. A query is a hit at k when its rank is below k: with several right answers any of them does.
    """
    if not relevant.any(axis=1).all():
        raise ValueError("a query without a right answer has no rank")
    scores = np.where(np.isnan(scores), np.where(relevant, -np.inf, np.inf), scores)
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    return ((scores >= best - TIE) & ~relevant).sum(axis=1)


def recall_at(ranks: Ids, k: int) -> float:
    return float((ranks < k).mean())


def chance_recall(candidates: Ids, right: Ids, k: int) -> float:
    """Expected recall at k of guessing: at least one of `right` answers among k drawn from `candidates`, query by query."""
    misses = stats.hypergeom.cdf(0, candidates, right, np.minimum(k, candidates))
    return float((1 - misses).mean())


def average_precisions(scores: Values, relevant: Flags) -> Values:
    """Of each query, the mean over its right answers of the precision at their place; tied candidates share the last place.

    Scores that are equal for all candidates therefore give the share of right answers, which is guessing.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, axis=1)
    ordered = np.take_along_axis(scores, order, axis=1)
    found = hits.cumsum(axis=1)
    # The place of a tie is that of its last member: walk from the end and keep the index until the score rises.
    places = np.broadcast_to(np.arange(1, scores.shape[1] + 1), scores.shape)
    is_last = np.ones(scores.shape, bool)
    is_last[:, :-1] = ordered[:, :-1] > ordered[:, 1:] + TIE
    last = np.where(is_last, places, scores.shape[1])
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    precision = np.take_along_axis(found, last - 1, axis=1) / last
    return (precision * hits).sum(axis=1) / hits.sum(axis=1)


def chance_average_precision(candidates: int, right: int) -> float:
    """Expected average precision of a random order."""
    harmonic = (1 / np.arange(1, candidates + 1)).sum()
    if candidates == 1:
        return 1.0
    return float(harmonic / candidates + (right - 1) / (candidates - 1) * (1 - harmonic / candidates))
