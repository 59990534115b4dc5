"""Pictures made of integers only, so that Python and TypeScript draw the same bytes and no fixture has to hold them.

test/flava/procedural-pictures.ts is the twin of this file: change both or neither. A committed sha256 over all
pictures tells them apart when they drift.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # [size, size, 3]
Color = tuple[int, int, int]

MASK = 0xFFFFFFFF
LCG_MULTIPLIER = 1664525
LCG_INCREMENT = 1013904223
"""The 32-bit linear congruential generator of Numerical Recipes."""
SEED_STEP = 2654435761
"""Knuth's multiplicative hash: neighbouring indices start far apart."""


class IntegerRandom:
    """The top 24 bits of a linear congruential generator; the low bits of one are poor."""

    def __init__(self, seed: int) -> None:
        self._state = (seed * SEED_STEP + 1) & MASK

    def below(self, limit: int) -> int:
        self._state = (self._state * LCG_MULTIPLIER + LCG_INCREMENT) & MASK
        return (self._state >> 8) % limit

    def color(self) -> Color:
        return (self.below(256), self.below(256), self.below(256))


def procedural_pictures(count: int, size: int, first: int = 0) -> Picture:
    """[count, size, size, 3] uint8, of the indices from `first` on."""
    return np.stack([procedural_picture(first + index, size) for index in range(count)])


def procedural_picture(index: int, size: int) -> Picture:
    """A background (white, flat, gradient or noise by index), then one to six shapes, as uint8 [size, size, 3]."""
    random = IntegerRandom(index)
    picture = background(index % 4, random, size)
    for _ in range(1 + random.below(6)):
        mask = shape_mask(random, size)  # drawn before its colour, which an assignment in one line would turn round
        picture[mask] = random.color()
    return picture


def background(kind: int, random: IntegerRandom, size: int) -> Picture:
    if kind == 0:
        return np.full((size, size, 3), 255, np.uint8)
    if kind == 1:
        return np.full((size, size, 3), random.color(), np.uint8)
    if kind == 2:
        return gradient(random, size)
    return np.array([random.below(256) for _ in range(size * size * 3)], np.uint8).reshape(size, size, 3)


def gradient(random: IntegerRandom, size: int) -> Picture:
    """Between two colours along x, y or the diagonal."""
    start, end = random.color(), random.color()
    direction = random.below(3)
    y, x = np.mgrid[0:size, 0:size]
    position = (x, y, (x + y) // 2)[direction]
    last = size - 1
    mixed = [(first * (last - position) + second * position) // last for first, second in zip(start, end, strict=True)]
    return np.stack(mixed, axis=-1).astype(np.uint8)


def shape_mask(random: IntegerRandom, size: int) -> NDArray[np.bool_]:
    """Where a rectangle, disc, ring or stripe pattern lies: bool [size, size]."""
    kind = random.below(4)
    center_x, center_y, extent = random.below(size), random.below(size), 3 + random.below(size // 3)
    y, x = np.mgrid[0:size, 0:size]
    dx, dy = x - center_x, y - center_y
    if kind == 0:
        return (np.abs(dx) < extent) & (np.abs(dy) * 2 < extent * 3)
    squared = dx * dx + dy * dy
    if kind == 1:
        return squared < extent * extent
    if kind == 2:
        return (squared < extent * extent) & (squared * 4 > extent * extent)
    return (x + 2 * y + center_x) % (extent + 4) < 2
