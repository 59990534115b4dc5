"""What a task is: labelled items in three splits, a metric, and which tensor of the model they are represented by.

Tasks of the paper's evaluation (arXiv 2112.04482, table 4) are of these kinds, so that each needs a loader and no suite:

    what                                   representation     suite
    GLUE, 8 tasks                          text_cls           fine-tuned
    vision, 22 tasks                       image_cls          linear probe
    VQAv2, SNLI-VE, Hateful Memes          multimodal_cls     fine-tuned
    Flickr30K, COCO                        projected          retrieval
    ImageNet zero-shot                     projected          zero-shot

`*_cls` is token 0 after the encoder's final layer norm, before any pooler or projection; `projected` is token 0's
projection, L2-normalized. Inputs are never masked.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from flava_gpu.evaluation.errors import EvaluationDataError
from flava_gpu.evaluation.metrics import Ids, Metric, accuracy

Representation = Literal["text_cls", "image_cls", "multimodal_cls"]
"""Of a single item. Retrieval and zero-shot compare two sides and have their own kinds of task."""
INPUTS: dict[Representation, tuple[bool, bool]] = {
    "text_cls": (True, False),
    "image_cls": (False, True),
    "multimodal_cls": (True, True),
}
"""Whether items have texts, and pictures."""


@dataclass(frozen=True)
class Examples:
    """Labelled items. `texts` and `images` are parallel to `targets`, each None where the task has none."""

    targets: Ids
    texts: Sequence[str] | None = None
    images: Sequence[Path] | None = None
    groups: Sequence[Hashable] | None = None
    """What items are dependent: intervals resample whole groups. None when each item stands for itself."""

    def __post_init__(self) -> None:
        for name in ("texts", "images", "groups"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.targets):
                raise EvaluationDataError(f"{name}: expected {len(self.targets)} items, got {len(column)}")

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """Of parts with the same columns; groups are left out."""
        first = parts[0]
        return cls(
            np.concatenate([part.targets for part in parts]),
            None if first.texts is None else [text for part in parts for text in part.texts or []],
            None if first.images is None else [image for part in parts for image in part.images or []],
        )

    def pick(self, positions: Sequence[int] | Ids) -> Examples:
        chosen = [int(position) for position in positions]
        return Examples(
            self.targets[chosen],
            None if self.texts is None else [self.texts[i] for i in chosen],
            None if self.images is None else [self.images[i] for i in chosen],
            None if self.groups is None else [self.groups[i] for i in chosen],
        )


@dataclass(frozen=True)
class Splits:
    """Everything is chosen on `validation`; `test` is looked at once."""

    train: Examples
    validation: Examples
    test: Examples


@dataclass(frozen=True)
class Task:
    name: str
    about: str
    """What is asked of which data, for the table's reader."""
    representation: Representation
    labels: tuple[str, ...]
    load: Callable[[], list[Splits]]
    """One set of splits, or several whose test items are put together (cross-validation)."""
    metric: Metric = accuracy
    """The one that the table shows; accuracy and the mean per class are always reported."""
    metric_name: str = "accuracy"
    words: Literal["word", "char_wb"] = "word"
    """What the bag of words counts: words, or pieces of words where texts are single ones."""

    def checked_splits(self) -> list[Splits]:
        """Raises EvaluationDataError for splits that no result may rest on."""
        folds = self.load()
        has_texts, has_images = INPUTS[self.representation]
        for fold in folds:
            for name, examples in (("train", fold.train), ("validation", fold.validation), ("test", fold.test)):
                where = f"{self.name}, {name}"
                if not len(examples):
                    raise EvaluationDataError(f"{where}: no items")
                if (examples.texts is not None) != has_texts or (examples.images is not None) != has_images:
                    raise EvaluationDataError(f"{where}: inputs do not fit the representation {self.representation}")
                if examples.targets.min() < 0 or examples.targets.max() >= len(self.labels):
                    raise EvaluationDataError(f"{where}: a class id outside of the {len(self.labels)} labels")
            if len(np.unique(fold.train.targets)) < 2:
                raise EvaluationDataError(f"{self.name}: the training items are all of one class")
        return folds


def stratified_split(targets: Ids, shares: Sequence[float], seed: int) -> list[Ids]:
    """Positions in `len(shares)` parts, every class divided alike; what a class's shares leave over goes to the first."""
    random = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in shares]
    for label in np.unique(targets):
        positions = random.permutation(np.flatnonzero(targets == label))
        start = 0
        for part, share in zip(parts[1:], shares[1:], strict=True):
            count = round(share * len(positions))
            part.extend(positions[start : start + count].tolist())
            start += count
        parts[0].extend(positions[start:].tolist())
    return [np.array(sorted(part), dtype=np.int64) for part in parts]
