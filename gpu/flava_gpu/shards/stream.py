"""Batches out of shards, from any step on, decoded by any number of worker processes.

A step's batch depends on seed, rank and step alone. What is written into a checkpoint is the update's number, and
`ShardSet.fingerprint` to notice that the shards are others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from flava_gpu.shards.faults import Fault, OnBad, ShardError
from flava_gpu.shards.order import ShardOrder
from flava_gpu.shards.reader import Sample, ShardReader, decode_picture

log = logging.getLogger("flava_gpu.shards")

MAX_REPLACEMENTS = 16
"""Bad samples in a row, one batch apart, after which the shards and not some samples are at fault."""


@dataclass(frozen=True)
class ShardBatch:
    step: int
    images: Tensor | None
    """uint8 [batch, 4, side, side], RGBA; None where the shards hold texts."""
    texts: list[tuple[str, ...]]
    """The captions of each sample, one or more."""
    keys: list[str]
    """`shard/key` of each sample."""
    skipped: tuple[Fault, ...]
    """Samples whose place others took."""


class ShardStream(Dataset[ShardBatch | Fault]):
    """The batches of one rank by step. `side` of the pictures; None leaves them undecoded and unlooked at."""

    def __init__(self, reader: ShardReader, order: ShardOrder, side: int | None, on_bad: OnBad = "error") -> None:
        self.reader = reader
        self.order = order
        self.side = side
        self.on_bad: OnBad = on_bad

    def __getitem__(self, step: int) -> ShardBatch | Fault:
        """A fault is returned, not raised: DataLoader would turn a worker's typed error into a RuntimeError."""
        try:
            return self.batch(step)
        except ShardError as error:
            return error.fault

    def batch(self, step: int) -> ShardBatch:
        """Raises ShardError for a bad sample unless the policy is to skip.

        With it the sample of the same place in the next batch stands in, which is no second time in this batch: batches
        keep their size on every rank, and stay a function of the step.
        """
        epoch, number = divmod(step, self.order.steps_per_epoch)
        skipped: list[Fault] = []
        samples: list[Sample] = []
        pictures: list[np.ndarray] = []
        start = number * self.order.batch_size
        for position in range(start, start + self.order.batch_size):
            sample, picture = self._good(epoch, position, skipped)
            samples.append(sample)
            if picture is not None:
                pictures.append(picture)
        return ShardBatch(
            step=step,
            images=torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous() if pictures else None,
            texts=[sample.texts for sample in samples],
            keys=[f"{sample.shard}/{sample.key}" for sample in samples],
            skipped=tuple(skipped),
        )

    def _good(self, epoch: int, position: int, skipped: list[Fault]) -> tuple[Sample, np.ndarray | None]:
        for attempt in range(MAX_REPLACEMENTS):
            place = (position + attempt * self.order.batch_size) % self.order.samples_per_epoch
            try:
                sample = self.reader.read(*self.order.sample(epoch, place))
                wants_picture = self.side is not None and self.reader.shards.content != "text"
                return sample, decode_picture(sample, self.side) if wants_picture and self.side else None
            except ShardError as error:
                if self.on_bad == "error" or error.fault.code in ("changed_shard", "truncated_shard"):
                    raise
                skipped.append(error.fault)
        last = skipped[-1]
        reason = f"{MAX_REPLACEMENTS} bad samples one after the other, the last: {last.reason}"
        raise ShardError(Fault("too_many_bad", last.shard, last.key, reason))


def stream_batches(stream: ShardStream, first: int, last: int, workers: int = 0) -> Iterator[ShardBatch]:
    """The batches of the steps from `first` up to `last`, over the ends of epochs; skipped samples are logged.

    `workers`: processes that read and decode, each a batch of its own; they change nothing but the speed.
    """
    loader = DataLoader(
        stream,
        batch_size=None,  # the stream makes whole batches
        sampler=range(first, last),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )
    for batch in loader:
        if isinstance(batch, Fault):
            raise ShardError(batch)
        for fault in batch.skipped:
            log.warning("step %d: skipped %s", batch.step, fault)
        yield batch
