"""BEiT's block masking: step for step transformers' generator, and what it promises on the grids that are trained on."""

from __future__ import annotations

import random

import pytest
import torch
from transformers.models.flava.image_processing_pil_flava import FlavaMaskingGenerator

from flava_gpu.block_masking import BlockMasking


@pytest.mark.parametrize(("side", "total", "smallest"), [(14, 75, 16), (8, 24, 5), (4, 6, 1)])
def test_masks_equal_transformers_given_the_same_random_stream(side: int, total: int, smallest: int) -> None:
    masking = BlockMasking.for_grid(side)
    assert (masking.total, masking.min_patches) == (total, smallest)
    theirs = FlavaMaskingGenerator(side, total, mask_group_min_patches=smallest)
    random.seed(5)  # transformers draws from Python's global generator
    expected = torch.stack([theirs() for _ in range(200)]).long()
    assert torch.equal(masking.draw(200, random.Random(5)), expected)


def test_flava_s_golden_mask_has_75_patches_in_a_block_and_a_column() -> None:
    mask = BlockMasking.for_grid(14).draw(1, random.Random(1234))[0]
    expected = torch.zeros(14, 14, dtype=torch.long)
    expected[:8, :9] = 1
    expected[9:12, 0] = 1
    assert torch.equal(mask, expected)


def test_the_total_is_a_bound_that_most_masks_reach_on_8_by_8_patches() -> None:
    masks = BlockMasking.for_grid(8).draw(1000, random.Random(0))
    counts = masks.sum(dim=(1, 2))
    assert counts.max() == 24
    assert counts.double().mean() > 23
    assert masks.double().mean(dim=0).min() > 0.05, "a place that is hardly ever masked is never learned"
    assert len(masks.flatten(1).unique(dim=0)) > 900, "every picture has a mask of its own"


def test_masked_patches_stand_together_unlike_patches_drawn_one_by_one() -> None:
    def neighbours(masks: torch.Tensor) -> float:
        """Share of the masked patches' right neighbours that are masked too."""
        return (masks[:, :, :-1] * masks[:, :, 1:]).sum().item() / masks[:, :, :-1].sum().item()

    blocks = BlockMasking.for_grid(8).draw(500, random.Random(1))
    scattered = blocks.flatten(1)[:, torch.randperm(64, generator=torch.Generator().manual_seed(1))].view(-1, 8, 8)
    assert neighbours(blocks) > neighbours(scattered) + 0.3


def test_a_mask_depends_on_its_generator_alone() -> None:
    masking = BlockMasking.for_grid(8)
    random.seed(1)
    once = masking.draw(4, random.Random(7))
    random.seed(2)
    assert torch.equal(once, masking.draw(4, random.Random(7)))
    assert not torch.equal(once, masking.draw(4, random.Random(8)))
