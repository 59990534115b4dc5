"""BEiT's block-wise masking of patches, step for step as transformers' FlavaMaskingGenerator, for any grid.

Given the same random stream it gives the same masks; it takes its generator instead of Python's global one.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

ATTEMPTS = 10
MIN_ASPECT = 0.3
FULL_GRID, FULL_TOTAL, FULL_MIN = 196, 75, 16  # FLAVA's: 38 % of 14 x 14 patches in blocks of 16 or more


@dataclass(frozen=True)
class BlockMasking:
    rows: int
    columns: int
    total: int
    """Patches to mask; a picture may get fewer when no block fits any more."""
    min_patches: int

    @classmethod
    def for_grid(cls, side: int) -> BlockMasking:
        """FLAVA's shares on a square grid: 24 of 8 x 8 patches, in blocks of 5 or more."""
        patches = side * side
        return cls(side, side, patches * FULL_TOTAL // FULL_GRID, max(1, round(patches * FULL_MIN / FULL_GRID)))

    def draw(self, batch: int, rng: random.Random) -> Tensor:
        """int64 [batch, rows, columns], 1 = masked, each picture's on its own."""
        return torch.stack([self._one(rng) for _ in range(batch)])

    def _one(self, rng: random.Random) -> Tensor:
        mask = torch.zeros(self.rows, self.columns, dtype=torch.long)
        count = 0
        while count < self.total:
            added = self._add_block(mask, self.total - count, rng)
            if added == 0:
                break
            count += added
        return mask

    def _add_block(self, mask: Tensor, at_most: int, rng: random.Random) -> int:
        for _ in range(ATTEMPTS):
            area = rng.uniform(self.min_patches, at_most)
            aspect = math.exp(rng.uniform(math.log(MIN_ASPECT), math.log(1 / MIN_ASPECT)))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height >= self.rows or width >= self.columns:
                continue
            top, left = rng.randint(0, self.rows - height), rng.randint(0, self.columns - width)
            block = mask[top : top + height, left : left + width]
            added = height * width - int(block.sum())
            if 0 < added <= at_most:
                block.fill_(1)
                return added
        return 0
