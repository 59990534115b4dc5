"""Tasks on the emoji set's own labels: Unicode's groups and subgroups, as classes of a held-out drawing style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from flava_gpu.evaluation.emoji import Picture, of
from flava_gpu.evaluation.tasks import Examples, Splits, Task

Label = Literal["group", "subgroup"]
EMOJI_LABELS: tuple[Label, ...] = ("group", "subgroup")


def emoji_task(label: Label, pictures: Sequence[Picture]) -> Task:
    """Training styles to fit, FxEmojis to choose, OpenMoji to test; concepts of the training set."""
    labels = tuple(sorted({getattr(picture, label) for picture in pictures if picture.split == "train"}))

    def examples(chosen: Sequence[Picture]) -> Examples:
        targets = np.array([labels.index(getattr(picture, label)) for picture in chosen])
        return Examples(targets, images=[picture.path for picture in chosen])

    def load() -> list[Splits]:
        roles = ("train-style", "dev-style", "test-style")
        return [Splits(*(examples(of(pictures, role, "train")) for role in roles))]

    return Task(f"emoji {label}", f"Unicode's {label} of a picture in a held-out style", "image_cls", labels, load)
