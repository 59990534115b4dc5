"""Handwritten digits: the 1,797 of 8 x 8 pixels that lie in scikit-learn (UCI), as picture files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from flava_gpu.evaluation.tasks import Examples, Splits, Task, stratified_split

SHARES = (0.6, 0.2, 0.2)
SEED = 0
INK = 16
"""Largest value of a pixel."""


def digits_task(work: Path) -> Task:
    """`work`: folder that the pictures are written to, bright ink on black as in the data."""

    def load() -> list[Splits]:
        data: Any = load_digits()
        paths = write_pictures(work / "digits-8x8", data["images"])
        targets = np.asarray(data["target"], dtype=np.int64)
        everything = Examples(targets, images=paths)
        return [Splits(*(everything.pick(part) for part in stratified_split(targets, SHARES, SEED)))]

    labels = tuple(str(digit) for digit in range(10))
    return Task("digits 8x8", "handwritten digits of 8 x 8 pixels (scikit-learn)", "image_cls", labels, load)


def write_pictures(folder: Path, images: np.ndarray) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:04}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        if not path.exists():
            partial = path.with_suffix(".partial")
            Image.fromarray((image * (255 / INK)).round().astype(np.uint8)).save(partial, "PNG")
            partial.replace(path)
    return paths
