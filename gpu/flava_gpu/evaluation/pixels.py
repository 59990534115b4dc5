"""What needs no model: pictures compared pixel by pixel. A floor for tasks that have training pictures of every class.

It compares pictures with pictures, so it reads no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flava_gpu.evaluation.progress import bar
from flava_gpu.preprocess import flatten_on_white

SIDE = 24
WHITE_TOLERANCE = 8
"""A channel at least this close to 255 counts as blank: antialiasing leaves faint edges."""
Kind = Literal["canvas", "trimmed"]
"""`canvas` takes whole pictures as rendered; `trimmed` first crops the blank border, whose width differs between styles."""
QUERIES_AT_ONCE = 512


def pixel_features(paths: Sequence[Path], kind: Kind = "canvas") -> NDArray[np.float32]:
    """Mean-free RGB at 24 x 24, rows of length 1, f32 [pictures, 1728]; zeros for a picture of one colour."""
    features = []
    with bar(len(paths), f"pixels, {kind}", "picture", silent_below=5000) as progress:
        for path in paths:
            features.append(pixel_feature(Image.open(path), kind))
            progress.update()
    return np.stack(features)


def pixel_feature(image: Image.Image, kind: Kind) -> NDArray[np.float32]:
    picture = flatten_on_white(image)
    if kind == "trimmed":
        picture = trim(picture)
    pixels = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64).ravel()
    centred = pixels - pixels.mean()
    length = np.linalg.norm(centred)
    return (centred / length if length > 0 else centred).astype(np.float32)


def trim(picture: Image.Image) -> Image.Image:
    """The smallest rectangle that holds everything not white; the whole picture when all of it is."""
    is_drawn = np.asarray(picture).min(axis=2) < 255 - WHITE_TOLERANCE
    if not is_drawn.any():
        return picture
    rows, columns = np.flatnonzero(is_drawn.any(axis=1)), np.flatnonzero(is_drawn.any(axis=0))
    return picture.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))


def class_scores(
    queries: NDArray[np.float32], training: NDArray[np.float32], classes: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Each class's largest cosine over its training pictures, [queries, count]; -inf for a class without any."""
    best = np.full((len(queries), count), -np.inf)
    order = np.argsort(classes, kind="stable")
    present, starts = np.unique(classes[order], return_index=True)
    gallery = training[order].astype(np.float64)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        scores = queries[start : start + QUERIES_AT_ONCE].astype(np.float64) @ gallery.T
        best[start : start + QUERIES_AT_ONCE, present] = np.maximum.reduceat(scores, starts, axis=1)
    return best
