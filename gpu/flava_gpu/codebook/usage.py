"""Which codes a set of pictures uses, and the warning for a codebook that has collapsed to a few."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

log = logging.getLogger("flava_gpu.codebook")

LEAST_USED = 0.1
"""Share of the codes below which a codebook counts as collapsed."""


@dataclass(frozen=True)
class Usage:
    counts: Tensor  # int64 [vocab_size]

    @classmethod
    def of(cls, tokens: Tensor, vocab_size: int) -> Usage:
        """`tokens` of any shape."""
        return cls(torch.bincount(tokens.flatten().long(), minlength=vocab_size))

    @property
    def used(self) -> float:
        """Share of the codes that occur at all."""
        return (self.counts > 0).double().mean().item()

    @property
    def perplexity(self) -> float:
        """exp of the tokens' entropy: the number of codes, all equally frequent, that would be as hard to guess."""
        shares = self.counts.double() / self.counts.sum()
        return torch.exp(-torch.xlogy(shares, shares).sum()).item()

    @property
    def most_frequent(self) -> float:
        """Share of the most frequent code: what always guessing it would get right."""
        return (self.counts.max() / self.counts.sum()).item()

    def warn_if_collapsed(self, where: str) -> bool:
        if self.used >= LEAST_USED:
            return False
        log.warning(
            "%s: only %.1f %% of %d codes are used; raise prior.usage, lower the learning rate, or keep "
            "prior.information up for longer",
            where,
            100 * self.used,
            len(self.counts),
        )
        return True
