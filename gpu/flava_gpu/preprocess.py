"""Inference preprocessing: RGBA on white, PIL's antialiased bicubic on uint8, then CLIP's normalization.

The edge engine does the same bytes in TypeScript (src/image); training's augmentation is elsewhere.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flava_gpu.augment import normalize


def flatten_on_white(image: Image.Image) -> Image.Image:
    """RGB of a PIL image, its transparent parts white."""
    rgba = image.convert("RGBA")
    background = Image.new("RGB", rgba.size, (255, 255, 255))
    background.paste(rgba, mask=rgba.getchannel("A"))
    return background


def stored_pictures(images: Tensor) -> list[Image.Image]:
    """RGBA pictures of uint8 [n, 4, side, side], as Pairs holds them."""
    return [Image.fromarray(rgba.permute(1, 2, 0).numpy()) for rgba in images]


def to_pixel_values(images: list[Image.Image], size: int) -> Tensor:
    """PIL images of any size to pixel_values f32 [n, 3, size, size]; aspect ratio is not kept, as in FlavaImageProcessor."""
    resized = [np.asarray(flatten_on_white(image).resize((size, size), Image.Resampling.BICUBIC)) for image in images]
    pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255  # [n, 3, size, size]
    return normalize(pixels)
