"""Which samples make a batch of streamed shards: a pure function of seed, rank and step, so that no state is ever saved.

    epoch      the shards in a new order                              [7 2 9 4 0 5 …]
    ranks      equal spans of that order; a shard on a border is shared  rank 0: [7 2 9'] rank 1: ['9 4 0]
    blocks     some samples of each of `interleaved` neighbouring shards, shuffled: what a shuffle buffer would hold
    batches    consecutive samples of the shuffled blocks

A shuffle buffer's content depends on all that went through it; a block's on its number alone. So a run resumes at any
step without reading what came before, whatever its number of workers.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from flava_gpu.sampling import stream_seed

BLOCK_SAMPLES = 4096
"""About how many samples are shuffled among each other. Only their numbers are in memory."""
INTERLEAVED_SHARDS = 16
"""Shards that a block is drawn from, and that a reader has open at once."""


@dataclass(frozen=True)
class _Span:
    shard: int
    first: int
    count: int


@dataclass(frozen=True)
class _Group:
    """Neighbouring spans that are read side by side, cut into `blocks` blocks."""

    start: int
    """Of its first sample among the rank's of the epoch."""
    spans: tuple[_Span, ...]
    blocks: int

    def block_start(self, block: int) -> int:
        return self.start + sum(block * span.count // self.blocks for span in self.spans)

    def block(self, block: int) -> list[tuple[int, int]]:
        return [
            (span.shard, span.first + number)
            for span in self.spans
            for number in range(block * span.count // self.blocks, (block + 1) * span.count // self.blocks)
        ]


class ShardOrder:
    """The samples of each batch of one rank. Every sample is drawn once an epoch over all ranks, but for less than one
    batch of each rank at the epoch's end: ranks have equally many batches, and never a small one."""

    def __init__(
        self,
        samples: Sequence[int],
        batch_size: int,
        seed: int,
        name: str,
        *,
        rank: int = 0,
        ranks: int = 1,
        block_samples: int = BLOCK_SAMPLES,
        interleaved: int = INTERLEAVED_SHARDS,
    ) -> None:
        """`samples` of each shard; `batch_size` of this rank; raises ValueError when there is no batch for every rank."""
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.name = name
        self.rank = rank
        self.block_samples = block_samples
        self.interleaved = interleaved
        self.steps_per_epoch = sum(samples) // (batch_size * ranks)
        if self.steps_per_epoch == 0:
            raise ValueError(f"{name}: {sum(samples)} samples are no batch of {batch_size} for each of {ranks} ranks")
        self._epoch = -1
        self._groups: list[_Group] = []
        self._held: tuple[int, int, int] = (-1, -1, -1)
        self._block: list[tuple[int, int]] = []

    @property
    def samples_per_epoch(self) -> int:
        """Of this rank."""
        return self.steps_per_epoch * self.batch_size

    def epoch_of(self, step: int) -> int:
        return step // self.steps_per_epoch

    def batch(self, step: int) -> list[tuple[int, int]]:
        """Shard and sample in it, by number, of everything that update `step`, from 0, sees."""
        epoch, number = divmod(step, self.steps_per_epoch)
        start = number * self.batch_size
        return [self.sample(epoch, position) for position in range(start, start + self.batch_size)]

    def sample(self, epoch: int, position: int) -> tuple[int, int]:
        """The sample at `position`, from 0 to samples_per_epoch, of this rank's epoch."""
        if epoch != self._epoch:
            self._groups = self._cut(epoch)
            self._epoch = epoch
        number = bisect_right(self._groups, position, key=lambda group: group.start) - 1
        group = self._groups[number]
        block = bisect_right(range(group.blocks), position, key=group.block_start) - 1
        if (epoch, number, block) != self._held:
            self._block = group.block(block)
            random.Random(stream_seed(self.seed, self.name, "block", epoch, self.rank, number, block)).shuffle(
                self._block
            )
            self._held = (epoch, number, block)
        return self._block[position - group.block_start(block)]

    def _cut(self, epoch: int) -> list[_Group]:
        order = random.Random(stream_seed(self.seed, self.name, "shards", epoch)).sample(
            range(len(self.samples)), len(self.samples)
        )
        first = self.rank * self.samples_per_epoch
        last = first + self.samples_per_epoch
        spans: list[_Span] = []
        position = 0
        for shard in order:
            start, stop = max(first - position, 0), min(last - position, self.samples[shard])
            if start < stop:
                spans.append(_Span(shard, start, stop - start))
            position += self.samples[shard]
        gathered = [tuple(spans[i : i + self.interleaved]) for i in range(0, len(spans), self.interleaved)]
        counts = [sum(span.count for span in group) for group in gathered]
        starts = accumulate(counts, initial=0)
        return [
            _Group(start, group, -(-count // self.block_samples))
            for start, group, count in zip(starts, gathered, counts, strict=False)
        ]
