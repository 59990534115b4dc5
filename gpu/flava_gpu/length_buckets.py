"""Batches of texts of like length: a batch is padded to its longest text, and what is padded is computed for nothing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

BUCKETS = 16


class LengthBuckets:
    """`texts` sorted by their letters and cut into equal parts, each of at least one batch where there are that many texts."""

    def __init__(self, texts: Sequence[str], batch_size: int) -> None:
        ordered = sorted(texts, key=lambda text: (len(text), text))
        count = max(1, min(BUCKETS, len(ordered) // batch_size))
        ends = [len(ordered) * part // count for part in range(count + 1)]
        self.buckets = [ordered[first:end] for first, end in itertools.pairwise(ends)]
        self.batch_size = batch_size

    def draw(self, rng: random.Random) -> list[str]:
        """A batch without repetition, out of one bucket; over all draws every text is as likely as any other."""
        bucket = rng.choices(self.buckets, weights=[len(bucket) for bucket in self.buckets])[0]
        return rng.sample(bucket, self.batch_size)
