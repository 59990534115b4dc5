"""95 % confidence intervals: Wilson's for shares of independent items, the bootstrap for everything else.

Items of one group (six drawings of one concept) are not independent: the bootstrap draws whole groups.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from flava_gpu.evaluation.metrics import Ids

LEVEL = 0.95
RESAMPLINGS = 1000
SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A share in [0, 1], or a correlation in [-1, 1], with its interval."""

    value: float
    low: float
    high: float


def wilson(value: float, count: int) -> Estimate:
    """Of the share `value` of `count` independent items (Wilson 1927, without continuity correction)."""
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    centre = (value + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(value * (1 - value) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return Estimate(value, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def bootstrap(
    statistic: Callable[[Ids], float],
    count: int,
    groups: Sequence[Hashable] | None = None,
    resamplings: int = RESAMPLINGS,
) -> Estimate:
    """Percentile interval of `statistic`, which is given positions of items, some of them several times.

    `groups` names the group of each of the `count` items; None when each stands for itself.
    """
    random = np.random.default_rng(SEED)
    members = group_members(groups) if groups is not None else [np.array([item]) for item in range(count)]
    value = statistic(np.arange(count))
    drawn = random.integers(0, len(members), (resamplings, len(members)))
    if groups is None:
        values = [statistic(row) for row in drawn]
    else:
        values = [statistic(np.concatenate([members[group] for group in row])) for row in drawn]
    return Estimate(value, *interval(np.array(values)))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle LEVEL of what the resamplings gave."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def of_mean(values: NDArray[np.float64], groups: Sequence[Hashable] | None = None) -> Estimate:
    """The bootstrap of a mean of items, from each group's sum and size: the same draws, a hundred times faster."""
    members = group_members(groups) if groups is not None else [np.array([item]) for item in range(len(values))]
    sums = np.array([values[positions].sum() for positions in members])
    sizes = np.array([len(positions) for positions in members])
    drawn = np.random.default_rng(SEED).integers(0, len(members), (RESAMPLINGS, len(members)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return Estimate(float(values.mean()), *interval(means))


def of_share(hits: NDArray[np.bool_], groups: Sequence[Hashable] | None = None) -> Estimate:
    """Wilson's interval where every item is a group of its own, else the bootstrap over groups."""
    if groups is None or len(set(groups)) == len(hits):
        return wilson(float(hits.mean()), len(hits))
    return of_mean(hits.astype(np.float64), groups)


def group_members(groups: Sequence[Hashable]) -> list[NDArray[np.int64]]:
    """Positions of the items of each group."""
    members: dict[Hashable, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    return [np.array(positions) for positions in members.values()]
