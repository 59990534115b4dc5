"""Tasks on the labelled sets of `npm run data -- labelled` (docs/data.md): digits, gloss classes, word sentiment, spam, word
pairs, and the sentiment of emoji over picture and name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from flava_gpu.evaluation.emoji import Picture, of
from flava_gpu.evaluation.errors import EvaluationDataError
from flava_gpu.evaluation.labelled import SPLITS, Row, read_labelled
from flava_gpu.evaluation.metrics import f1
from flava_gpu.evaluation.tasks import Examples, Splits, Task

MAIL_CHARACTERS = 2000
"""The model reads 77 tokens; a mail may be a book."""
FOLDS = 5
"""Of the emoji with a sentiment: 118 are too few to set a fifth of them aside."""


def mnist_task(labelled: Path) -> Task:
    rows = read_labelled(labelled, "mnist")
    images = labelled / "images"

    def load() -> list[Splits]:
        return [_splits(rows, DIGITS, image=lambda row: images / row["image"], sizes={"train": 5000, "test": 2000})]

    return Task("MNIST", "handwritten digits of 28 x 28 pixels", "image_cls", DIGITS, load)


def gloss_task(labelled: Path) -> Task:
    rows = read_labelled(labelled, "glosses")
    labels = _labels(rows)

    def load() -> list[Splits]:
        return [_splits(rows, labels, text=_text, sizes={"train": 8000, "valid": 2000, "test": 4000})]

    return Task("gloss class", "WordNet's class of meaning, from the gloss", "text_cls", labels, load)


def word_task(labelled: Path) -> Task:
    rows = read_labelled(labelled, "words")
    labels = ("negative", "positive")

    def load() -> list[Splits]:
        return [_splits(rows, labels, text=_text)]

    return Task("word sentiment", "AFINN's words, negative or positive", "text_cls", labels, load, words="char_wb")


def mail_task(labelled: Path) -> Task:
    rows = read_labelled(labelled, "mail")
    labels = ("ham", "spam")

    def load() -> list[Splits]:
        return [_splits(rows, labels, text=lambda row: row["text"][:MAIL_CHARACTERS])]

    return Task("spam", "SpamAssassin's mails, spam or not", "text_cls", labels, load, metric=f1, metric_name="F1")


def word_pair_task(labelled: Path) -> Task:
    rows = read_labelled(labelled, "word-pairs")
    labels = _labels(rows)

    def load() -> list[Splits]:
        sizes = {"train": 9000, "valid": 1500, "test": 3000}
        return [_splits(rows, labels, text=lambda row: f"{row['first']}: {row['second']}", sizes=sizes)]

    about = "are two words of WordNet a kind and its genus, opposites, or unrelated"
    return Task("word pairs", about, "text_cls", labels, load)


def emotion_task(labelled: Path, pictures: Sequence[Picture]) -> Task:
    """Cross-validation over emoji: a fold's are tested in OpenMoji's drawing, the next fold's choose in FxEmojis' and the
    training styles', the others are trained on in the training styles'."""
    rows = read_labelled(labelled, "emoji-emotion")
    labels = ("negative", "neutral", "positive")
    known = {row["key"]: row for row in rows}

    def examples(chosen: Sequence[Picture]) -> Examples:
        targets = np.array([labels.index(known[picture.concept]["label"]) for picture in chosen], dtype=np.int64)
        names = [known[picture.concept]["text"] for picture in chosen]
        concepts = [picture.concept for picture in chosen]
        return Examples(targets, names, [picture.path for picture in chosen], concepts)

    def load() -> list[Splits]:
        shown = {role: [p for p in of(pictures, role, "train") if p.concept in known] for role in ROLES}
        folds = []
        for fold in range(FOLDS):
            held, choosing = fold, (fold + 1) % FOLDS
            train = [p for p in shown["train-style"] if _fold(known[p.concept]) not in (held, choosing)]
            dev = [p for p in [*shown["train-style"], *shown["dev-style"]] if _fold(known[p.concept]) == choosing]
            test = [p for p in shown["test-style"] if _fold(known[p.concept]) == held]
            folds.append(Splits(examples(train), examples(dev), examples(test)))
        return folds

    about = "is an emoji's feeling negative, neutral or positive, from picture and name"
    return Task("emoji sentiment", about, "multimodal_cls", labels, load)


DIGITS = tuple(str(digit) for digit in range(10))
ROLES = ("train-style", "dev-style", "test-style")


def _splits(
    rows: Sequence[Row],
    labels: Sequence[str],
    text: Callable[[Row], str] | None = None,
    image: Callable[[Row], Path] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Splits:
    """The rows' own splits; of one that `sizes` names at most so many, the first in the order of their hashed ids."""
    ids = {label: index for index, label in enumerate(labels)}
    parts: list[Examples] = []
    for split in SPLITS:
        chosen = sorted((row for row in rows if row["split"] == split), key=_order)[: (sizes or {}).get(split)]
        if unknown := next((row for row in chosen if row["label"] not in ids), None):
            raise EvaluationDataError(
                f"{unknown['id']}: unknown label {unknown['label']!r}, expected one of {list(ids)}"
            )
        parts.append(
            Examples(
                np.array([ids[row["label"]] for row in chosen], dtype=np.int64),
                None if text is None else [text(row) for row in chosen],
                None if image is None else [image(row) for row in chosen],
                [row["group"] for row in chosen],
            )
        )
    return Splits(*parts)


def _labels(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(sorted({row["label"] for row in rows}))


def _text(row: Row) -> str:
    return row["text"]


def _order(row: Row) -> bytes:
    return hashlib.sha256(str(row["id"]).encode()).digest()


def _fold(row: Row) -> int:
    return int.from_bytes(hashlib.sha256(f"emotion\0{row['group']}".encode()).digest()[:4], "big") % FOLDS
