"""Augmentation of a batch of RGBA pictures towards drawing styles that training never shows.

Pure: tensors, a configuration and a torch.Generator in, a tensor out. Values are in [0, 1], white background by default.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from flava_gpu.training.config import AugmentationConfig

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as FlavaImageProcessor
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_TONES = 6


def normalize(pixels: Tensor) -> Tensor:
    """`pixels` f32 [n, 3, h, w] in [0, 1] to the model's pixel_values."""
    mean = torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGE_STD).view(1, 3, 1, 1)
    return (pixels - mean) / std


def augment(images: Tensor, size: int, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """`images` uint8 [n, 4, side, side] RGBA to f32 [n, 3, size, size] in [0, 1], each picture changed on its own."""
    draw = _Draw(len(images), generator)
    premultiplied = images.float() / 255
    alpha = premultiplied[:, 3:]
    premultiplied = torch.cat([premultiplied[:, :3] * alpha, alpha], dim=1)
    warped = _warp(premultiplied, size, config, draw)
    alpha = warped[:, 3:]
    pixels = warped[:, :3] + (1 - alpha) * _background(config, draw)
    contours = _contours(warped[:, :3] + (1 - alpha), alpha)

    # Fading the fill before the contours are drawn leaves line art, as in outline styles.
    fade = draw.uniform(0.4, 1.0) * draw.chance(config.fill_out)
    pixels = pixels + (1 - pixels) * fade
    tones = (draw.uniform(2, MAX_TONES)).round()
    flat = (pixels * tones).round() / tones
    pixels = torch.where(draw.chance(config.flatten) > 0, flat, pixels)
    strength = draw.uniform(0.5, 1.0) * torch.maximum(draw.chance(config.outline), (fade > 0).float())
    pixels = pixels * (1 - contours * strength)
    pixels = _recolour(pixels, config, draw)
    blurred = _around(pixels, torch.add) / 9
    pixels = torch.where(draw.chance(config.blur) > 0, blurred, pixels)
    grain = torch.randn((len(pixels), 1, size, size), generator=generator)
    noise = grain * draw.uniform(0, 0.1) * draw.chance(config.noise)
    return (pixels + noise).clamp(0, 1)


class _Draw:
    """Random numbers of one batch, each [n, 1, 1, 1]."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.shape = (count, 1, 1, 1)
        self.generator = generator

    def uniform(self, low: float, high: float) -> Tensor:
        return torch.rand(self.shape, generator=self.generator) * (high - low) + low

    def chance(self, probability: float) -> Tensor:
        return (torch.rand(self.shape, generator=self.generator) < probability).float()


def _warp(premultiplied: Tensor, size: int, config: AugmentationConfig, draw: _Draw) -> Tensor:
    angle = draw.uniform(-config.rotation, config.rotation).view(-1)
    scale_x = draw.uniform(*config.scale).view(-1)
    scale_y = scale_x * draw.uniform(1 - config.stretch, 1 + config.stretch).view(-1)
    # affine_grid works in [-1, 1], twice the picture's side.
    shift_x = draw.uniform(-2 * config.shift, 2 * config.shift).view(-1)
    shift_y = draw.uniform(-2 * config.shift, 2 * config.shift).view(-1)
    row_x = torch.stack([angle.cos() / scale_x, -angle.sin() / scale_x, shift_x], dim=1)
    row_y = torch.stack([angle.sin() / scale_y, angle.cos() / scale_y, shift_y], dim=1)
    grid = F.affine_grid(torch.stack([row_x, row_y], dim=1), [len(angle), 4, size, size], align_corners=False)
    return F.grid_sample(premultiplied, grid, align_corners=False)  # [n, 4, size, size]


def _background(config: AugmentationConfig, draw: _Draw) -> Tensor:
    colour = torch.rand((draw.shape[0], 3, 1, 1), generator=draw.generator)
    return torch.where(draw.chance(config.background) > 0, colour, torch.ones_like(colour))


def _contours(on_white: Tensor, alpha: Tensor) -> Tensor:
    """Edge strength [n, 1, h, w] in [0, 1]: the silhouette and strong changes of colour inside it."""
    spread = _around(on_white, torch.maximum) - _around(on_white, torch.minimum)
    inner = (spread.amax(dim=1, keepdim=True) - 0.15).clamp(0, 0.3) / 0.3
    silhouette = _around(alpha, torch.maximum) - _around(alpha, torch.minimum)
    return torch.maximum(inner, silhouette)


def _around(pixels: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`combine` over each pixel's 3x3 neighbourhood, one axis after the other: 8 times faster than max_pool2d on a CPU."""
    padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    rows = combine(combine(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    return combine(combine(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _recolour(pixels: Tensor, config: AugmentationConfig, draw: _Draw) -> Tensor:
    count = draw.shape[0]
    matrix = torch.eye(3) + torch.randn((count, 3, 3), generator=draw.generator) * config.colour
    changed = torch.einsum("nij,njhw->nihw", matrix, pixels)
    changed = (changed - 0.5) * draw.uniform(0.7, 1.25) + 0.5 + draw.uniform(-0.08, 0.08)
    grey = changed.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    changed = torch.where(draw.chance(config.greyscale) > 0, grey, changed)
    return torch.where(draw.chance(0.25) > 0, pixels, changed)
