"""The emoji set's retrieval tasks: which pictures ask, which names and pictures are candidates. docs/evaluation.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flava_gpu.evaluation.emoji import Picture
from flava_gpu.evaluation.errors import EvaluationDataError
from flava_gpu.evaluation.retrieval import Gallery, RetrievalTask
from flava_gpu.pairs import Role


@dataclass(frozen=True)
class SplitRule:
    about: str
    role: Role
    asks: Callable[[Picture], bool]
    competes: Callable[[Picture], bool]


def _is_train(picture: Picture) -> bool:
    return picture.split == "train"


def _is_test(picture: Picture) -> bool:
    return picture.split == "test"


RULES: dict[str, SplitRule] = {
    "A": SplitRule("held-out style, seen concepts", "test-style", _is_train, _is_train),
    "B": SplitRule("seen styles, held-out concepts", "train-style", _is_test, _is_test),
    "B1652": SplitRule("as B, among all concepts", "train-style", _is_test, lambda _: True),
    "C": SplitRule("held-out style, held-out concepts", "test-style", _is_test, _is_test),
    "dev": SplitRule("tuning style, seen concepts", "dev-style", _is_train, _is_train),
}
SPLITS_OF_FLAG = {"A": ("A",), "B": ("B", "B1652"), "C": ("C",), "dev": ("dev",)}
"""B is scored in its two pools."""


def name_task(split: str, pictures: Sequence[Picture]) -> RetrievalTask:
    """Pictures and concept names, one gallery a style: a name is looked for among pictures of one style, so that every query
    has exactly one right answer. Raises EvaluationDataError for an empty split and for two concepts of one name."""
    rule = RULES[split]
    competing = [picture for picture in pictures if picture.role == rule.role and rule.competes(picture)]
    names = _unique_names(split, competing)
    position = {concept: index for index, concept in enumerate(names)}
    styles = list(dict.fromkeys(picture.style for picture in competing))
    galleries = []
    for style in styles:
        shown = [picture for picture in competing if picture.style == style]
        asking = np.array([index for index, picture in enumerate(shown) if rule.asks(picture)], dtype=np.int64)
        texts = np.array([position[shown[index].concept] for index in asking], dtype=np.int64)
        captions = [[position[picture.concept]] for picture in shown]
        concepts = [picture.concept for picture in shown]
        images = [picture.path for picture in shown]
        galleries.append(Gallery(images, list(names.values()), captions, asking, texts, concepts))
    if not any(len(gallery.asking_images) for gallery in galleries):
        raise EvaluationDataError(f"split {split}: no pictures")
    return RetrievalTask(split, f"{rule.about} ({len(names)} names, {', '.join(styles)})", galleries)


def keyword_task(pictures: Sequence[Picture], keywords: dict[str, list[str]]) -> RetrievalTask:
    """Keywords as queries among pictures of one style, every picture that carries one being right.

    `keywords` by concept. A concept's own name is none of them: name_task asks that.
    """
    shown = list(pictures)
    words = sorted({word for picture in shown for word in keywords.get(picture.concept, [])})
    if not words:
        raise EvaluationDataError("no keywords")
    position = {word: index for index, word in enumerate(words)}
    captions = [[position[word] for word in keywords.get(picture.concept, [])] for picture in shown]
    everything = np.arange(len(words), dtype=np.int64)
    images = [picture.path for picture in shown]
    with_words = np.array([index for index, own in enumerate(captions) if own], dtype=np.int64)
    gallery = Gallery(images, words, captions, with_words, everything, [picture.concept for picture in shown])
    return RetrievalTask("keywords", f"{len(words)} keywords, {len(shown)} pictures", [gallery])


def _unique_names(split: str, candidates: Sequence[Picture]) -> dict[str, str]:
    """By concept key, in the data's order."""
    names = {picture.concept: picture.name for picture in candidates}
    seen: dict[str, str] = {}
    for concept, name in names.items():
        other = seen.setdefault(name.lower(), concept)
        if other != concept:
            raise EvaluationDataError(f'split {split}: "{name}" names both {other} and {concept}')
    return names
