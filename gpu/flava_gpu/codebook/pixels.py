"""Codebook pixels, as FlavaImageProcessor's codebook branch makes them: LANCZOS, on white."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flava_gpu.preprocess import flatten_on_white, stored_pictures


def codebook_pixels(images: Tensor, size: int) -> Tensor:
    """uint8 RGBA [n, 4, side, side] to f32 [n, 3, size, size] in [0, 1]; codebook/tokens.py maps them on to [0.1, 0.9]."""
    return pixels_of(stored_pictures(images), size)


def pixels_of(pictures: Sequence[Image.Image], size: int) -> Tensor:
    """The same of pictures of any size."""
    resized = [np.asarray(flatten_on_white(one).resize((size, size), Image.Resampling.LANCZOS)) for one in pictures]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255  # [n, 3, size, size]
