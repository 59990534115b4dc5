"""Counts what streaming yields on a generated set: `python -m flava_gpu.shards.count --items 1000000`.

Writes numbered pictures with numbered captions into shards, reads epochs of them over 1, 2 and 3 ranks, and fails unless every
item comes exactly once an epoch (but for less than a batch of each rank), ranks have equally many batches, the second epoch
has another order, a stream that is taken up in the middle goes on as the first would have, and memory stays flat.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from flava_gpu.shards.index import ShardSet, index_shards, load_shards
from flava_gpu.shards.order import ShardOrder
from flava_gpu.shards.reader import ShardReader
from flava_gpu.shards.stream import ShardBatch, ShardStream, stream_batches
from flava_gpu.shards.writer import SampleFiles, write_shards

PICTURES = 64
SIDE = 8
MEBIBYTE = 1024**2
MAX_GROWTH_BYTES = 48 * MEBIBYTE
"""Of the resident memory after the first tenth of an epoch; the allocator's own ups and downs stay well below."""


@dataclass(frozen=True)
class Counted:
    """Of one epoch over all ranks."""

    ranks: int
    batches_per_rank: int
    once: int
    never: int
    twice: int
    """Or more often."""
    growth_bytes: int
    seconds: float

    def check(self, batch_size: int) -> None:
        """Raises AssertionError naming what is off."""
        assert self.twice == 0, f"{self.ranks} ranks: {self.twice} items came more than once"
        assert self.never < self.ranks * batch_size, f"{self.ranks} ranks: {self.never} items did not come"
        assert self.growth_bytes <= MAX_GROWTH_BYTES, f"{self.ranks} ranks: memory grew by {self.growth_bytes} bytes"


def generated_samples(items: int) -> Iterator[SampleFiles]:
    """Items whose caption is their number, each with one of PICTURES small pictures."""
    random = np.random.default_rng(0)
    pictures: list[bytes] = []
    for _ in range(PICTURES):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(file, "PNG")
        pictures.append(file.getvalue())
    for number in tqdm(range(items), desc="write", unit=" items", unit_scale=True, disable=items < 100_000):
        yield SampleFiles(f"{number:09d}", {"png": pictures[number % PICTURES], "txt": b"item %d" % number})


def count_epoch(
    shards: ShardSet, ranks: int, batch_size: int, workers: int = 0, epoch: int = 0, side: int | None = None
) -> Counted:
    """Reads one epoch of every rank and counts how often each item came."""
    seen = np.zeros(shards.samples, np.uint8)
    resident: list[int] = []
    began = time.monotonic()
    steps = 0
    for rank in range(ranks):
        stream = make_stream(shards, rank, ranks, batch_size, side)
        steps = stream.order.steps_per_epoch
        batches = stream_batches(stream, epoch * steps, (epoch + 1) * steps, workers)
        label = f"epoch {epoch}, rank {rank} of {ranks}"
        for batch in tqdm(batches, label, steps, unit=" batches", disable=shards.samples < 100_000):
            np.add.at(seen, numbers(batch), 1)
            if batch.step % 100 == 0 or batch.step == epoch * steps:
                resident.append(resident_bytes())
        stream.reader.close()
    settled = resident[len(resident) // 10 :]
    return Counted(
        ranks=ranks,
        batches_per_rank=steps,
        once=int((seen == 1).sum()),
        never=int((seen == 0).sum()),
        twice=int((seen > 1).sum()),
        growth_bytes=max(settled) - settled[0],
        seconds=time.monotonic() - began,
    )


def resumes_exactly(shards: ShardSet, batch_size: int, workers: int = 0, steps: int = 40) -> bool:
    """Whether a new stream that begins in the middle of the last rank's epoch, and one over its end, gives the same rest."""
    whole = make_stream(shards, 2, 3, batch_size)
    end = whole.order.steps_per_epoch
    for start in (end // 2, end - steps // 2):
        first = [batch.keys for batch in stream_batches(whole, start - steps, start + steps)]
        resumed = make_stream(shards, 2, 3, batch_size)
        rest = [batch.keys for batch in stream_batches(resumed, start, start + steps, workers)]
        if first[steps:] != rest or rest == first[:steps]:
            return False
    return True


def is_reshuffled(shards: ShardSet, batch_size: int) -> bool:
    """Whether hardly any item follows the one it followed in the shards, or in the epoch before."""
    orders = []
    for epoch in (0, 1):
        stream = make_stream(shards, 0, 1, batch_size)
        start = epoch * stream.order.steps_per_epoch
        steps = min(40, stream.order.steps_per_epoch)
        orders.append([n for b in stream_batches(stream, start, start + steps) for n in numbers(b)])
    kept = [sum(b == a + 1 for a, b in pairwise(order)) / len(order) for order in orders]
    return max(kept) < 0.05 and orders[0] != orders[1]


def make_stream(shards: ShardSet, rank: int, ranks: int, batch_size: int, side: int | None = None) -> ShardStream:
    samples = [shard.samples for shard in shards.shards]
    order = ShardOrder(samples, batch_size, 0, "count", rank=rank, ranks=ranks)
    return ShardStream(ShardReader(shards), order, side)


def numbers(batch: ShardBatch) -> list[int]:
    return [int(texts[0].removeprefix("item ")) for texts in batch.texts]


def resident_bytes() -> int:
    """Of this process and its workers; pages that they share count for each."""
    pids = [os.getpid(), *(worker.pid for worker in multiprocessing.active_children())]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def report(shards: ShardSet, batch_size: int, workers: int, side: int | None) -> list[str]:
    """The table's lines; raises AssertionError when something is off."""
    lines = [
        "| ranks | batches a rank | items once | never | twice | memory grew | items/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for ranks in (1, 2, 3):
        counted = count_epoch(shards, ranks, batch_size, workers, epoch=ranks - 1, side=side)
        counted.check(batch_size)
        rate = counted.once / counted.seconds
        lines.append(
            f"| {ranks} | {counted.batches_per_rank:,} | {counted.once:,} | {counted.never:,} | {counted.twice} "
            f"| {counted.growth_bytes / MEBIBYTE:.1f} MiB | {rate:,.0f} |"
        )
    assert resumes_exactly(shards, batch_size, workers), "a resumed stream gave another rest"
    assert is_reshuffled(shards, batch_size), "items follow each other as in the shards"
    return [*lines, "resumed in the middle and over an epoch's end: the same rest", "shuffled: yes, anew in each epoch"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=256, help="of each rank")
    parser.add_argument("--workers", type=int, default=0, help="reading processes of each rank")
    parser.add_argument("--decode", action="store_true", help="decode the pictures too")
    parser.add_argument("--folder", type=Path, help="keep the shards there; without it they are removed")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="flava-shards-"))
    try:
        if not (folder / "shards.json").exists():
            began = time.monotonic()
            write_shards(generated_samples(arguments.items), folder)
            index_shards(folder)
            print(f"written and indexed in {time.monotonic() - began:.0f} s", file=sys.stderr)
        shards = load_shards(folder)
        size = sum(shard.size_bytes for shard in shards.shards)
        print(f"{shards.samples:,} items in {len(shards.shards)} shards, {size / 1024**3:.2f} GiB")
        print("\n".join(report(shards, arguments.batch_size, arguments.workers, SIDE if arguments.decode else None)))
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
