"""Which rows make a batch: a pure function of the seed and the step, so that a resumed run draws what the first would have."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Hashable, Sequence

LOOKED_AHEAD = 16
"""Batches' worth of rows that may be passed over while one batch is filled: bounds the time where all rows are alike."""


def stream_seed(seed: int, *names: str | int) -> int:
    """A seed of its own for each use of randomness, below 2^48."""
    digest = hashlib.sha256(":".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:6], "big")


class BatchOrder:
    """Every epoch is a new shuffle of all rows cut into whole batches; what is left over at its end waits for another epoch.

    `keys`: of each row, what must not stand twice in one batch, because it would be the wrong answer to itself: its caption,
    its picture. Rows that would repeat one move on to a later batch as far as there is one.
    """

    def __init__(
        self, rows: int, batch_size: int, seed: int, name: str, keys: Sequence[frozenset[Hashable]] | None = None
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.name = name
        self.keys = keys
        self.steps_per_epoch = rows // batch_size
        self._epoch = -1
        self._batches: list[list[int]] = []

    def epoch_of(self, step: int) -> int:
        return step // self.steps_per_epoch

    def batch(self, step: int) -> list[int]:
        """Positions of the rows of the batch that update `step`, from 0, sees."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            shuffled = random.Random(stream_seed(self.seed, self.name, epoch)).sample(range(self.rows), self.rows)
            self._batches = self._cut(shuffled) if self.keys is None else self._cut_apart(shuffled, self.keys)
            self._epoch = epoch
        return self._batches[number]

    def _cut(self, shuffled: list[int]) -> list[list[int]]:
        size = self.batch_size
        return [shuffled[start : start + size] for start in range(0, self.steps_per_epoch * size, size)]

    def _cut_apart(self, shuffled: list[int], keys: Sequence[frozenset[Hashable]]) -> list[list[int]]:
        batches: list[list[int]] = []
        waiting = deque(shuffled)
        for _ in range(self.steps_per_epoch):
            batch: list[int] = []
            taken: set[Hashable] = set()
            later: deque[int] = deque()
            while waiting and len(batch) < self.batch_size and len(later) < LOOKED_AHEAD * self.batch_size:
                row = waiting.popleft()
                if taken.isdisjoint(keys[row]):
                    batch.append(row)
                    taken |= keys[row]
                else:
                    later.append(row)
            while len(batch) < self.batch_size:  # only repeats are left
                batch.append((later or waiting).popleft())
            waiting.extendleft(reversed(later))
            batches.append(batch)
        return batches


def most_repeated(keys: Sequence[frozenset[Hashable]]) -> int:
    """In how many rows the most frequent key stands."""
    counts: dict[Hashable, int] = {}
    for row in keys:
        for key in row:
            counts[key] = counts.get(key, 0) + 1
    return max(counts.values(), default=0)
