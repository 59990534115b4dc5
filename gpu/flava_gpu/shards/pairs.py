"""Pairs for the contrastive and multimodal losses out of shards, for data sets that do not fit into memory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flava_gpu.distributed import Ranks
from flava_gpu.pair_sampling import DrawnPairs
from flava_gpu.shards.faults import OnBad
from flava_gpu.shards.index import load_shards
from flava_gpu.shards.order import ShardOrder
from flava_gpu.shards.reader import ShardReader
from flava_gpu.shards.stream import ShardBatch, ShardStream, stream_batches


@dataclass(frozen=True)
class ShardsConfig:
    folder: Path
    """Indexed shards of pairs."""
    on_bad: OnBad
    workers: int
    """Processes that read and decode; they change nothing but the speed."""


class StreamedPairs:
    """This rank's batches of pairs by their number; asked for one after the other they come from the workers' queue."""

    def __init__(self, config: ShardsConfig, batches: int, batch_size: int, side: int, seed: int, ranks: Ranks) -> None:
        """`batch_size` of all ranks together, `side` of the decoded pictures; `batches` in the whole run."""
        shards = load_shards(config.folder)
        samples = [shard.samples for shard in shards.shards]
        order = ShardOrder(samples, batch_size // ranks.count, seed, "pairs", rank=ranks.rank, ranks=ranks.count)
        self.fingerprint = shards.fingerprint
        self.stream = ShardStream(ShardReader(shards), order, side, config.on_bad)
        self.batches = batches
        self.workers = config.workers
        self._next = -1
        self._queue: Iterator[ShardBatch] = iter(())

    def draw(self, number: int, rng: random.Random) -> DrawnPairs:
        """Of batch `number`, from 0, with one caption of each picture; raises ShardError."""
        if number != self._next:
            self._queue = stream_batches(self.stream, number, self.batches, self.workers)
        batch = next(self._queue)
        self._next = number + 1
        assert batch.images is not None
        captions = [rng.choice(texts) for texts in batch.texts]
        return DrawnPairs(
            batch.images, batch.keys, captions, [{text.lower() for text in texts} for texts in batch.texts]
        )
