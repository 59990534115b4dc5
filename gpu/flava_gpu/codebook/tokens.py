"""Pictures to visual tokens, as FLAVA's MIM and MMM predict them."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import FlavaImageCodebook

MARGIN = 0.1
"""Codebook pixels lie in [0.1, 0.9]: DALL-E keeps away from the ends, where its logit-Laplace loss has no mass."""
PIXELS_PER_TOKEN = 8
"""A token stands for 8 x 8 codebook pixels: three poolings by 2, whatever the width."""


def map_pixels(pixels: Tensor) -> Tensor:
    """[0, 1] to [MARGIN, 1 - MARGIN], as FlavaImageProcessor's codebook branch."""
    return pixels * (1 - 2 * MARGIN) + MARGIN


@torch.no_grad()
def tokenize(codebook: FlavaImageCodebook, pixels: Tensor) -> Tensor:
    """Token ids int64 [batch, rows, columns] of codebook pixels f32 [batch, 3, 8 rows, 8 columns] in [0, 1]."""
    pixels = map_pixels(pixels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=pixels.device.type == "cpu"):
        return codebook(pixels).argmax(dim=1)
