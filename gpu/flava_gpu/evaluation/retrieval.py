"""Zero-shot retrieval: pictures and texts by the cosine of their projected vectors, nothing trained.

The protocol is the paper's for Flickr30K and COCO (5 captions a picture): a picture's query is a hit when ANY of its texts is
among the first k, a text's query when its picture is. A keyword that several pictures carry is scored by its mean average
precision. One function ranks whatever engine gave the vectors, and training's own checks use it too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flava_gpu.evaluation.confidence import Estimate, of_mean, of_share
from flava_gpu.evaluation.metrics import (
    Flags,
    Ids,
    Values,
    average_precisions,
    best_ranks,
    chance_average_precision,
    chance_recall,
)

Direction = Literal["i2t", "t2i"]
DIRECTIONS: tuple[Direction, ...] = ("i2t", "t2i")
CUTOFFS = (1, 5, 10)
"""Of the FLAVA and CLIP papers, and 10."""
QUERIES_AT_ONCE = 512
"""5,000 x 25,000 scores in f64 would be a gigabyte."""


@dataclass(frozen=True)
class Gallery:
    """One pool of pictures and texts that compete; `captions[i]` are the positions in `texts` of picture i's own."""

    images: Sequence[Path]
    texts: Sequence[str]
    captions: Sequence[Sequence[int]]
    asking_images: Ids
    asking_texts: Ids
    groups: Sequence[Hashable]
    """Of each picture: what its queries are dependent with, in other galleries of the split."""


@dataclass(frozen=True)
class RetrievalTask:
    name: str
    about: str
    galleries: Sequence[Gallery]


@dataclass(frozen=True)
class Ranked:
    """One row a query."""

    ranks: Ids
    """Wrong candidates before the best right one."""
    average_precision: Values
    candidates: Ids
    right: Ids
    """How many of the candidates are right answers."""
    groups: list[Hashable]

    def recall(self, k: int) -> Estimate:
        return of_share(self.ranks < k, self.groups)

    def mean_average_precision(self) -> Estimate:
        return of_mean(self.average_precision, self.groups)

    def chance_recall(self, k: int) -> float:
        return chance_recall(self.candidates, self.right, k)

    def chance_average_precision(self) -> float:
        pairs = zip(self.candidates.tolist(), self.right.tolist(), strict=True)
        return float(np.mean([chance_average_precision(*pair) for pair in pairs]))


Vectors = Callable[[Gallery], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""A gallery's pictures and texts as vectors of length 1, each [items, dim]."""


def rank_task(task: RetrievalTask, vectors: Vectors, direction: Direction) -> Ranked:
    """All asking items of all galleries."""
    return join([rank_gallery(gallery, *vectors(gallery), direction) for gallery in task.galleries])


def rank_gallery(
    gallery: Gallery, image: NDArray[np.float32], text: NDArray[np.float32], direction: Direction
) -> Ranked:
    if direction == "i2t":
        asking, queries, candidates = gallery.asking_images, image, text
    else:
        asking, queries, candidates = gallery.asking_texts, text, image
    relevant = relevance(gallery, direction)[asking]
    groups = _groups(gallery, direction)
    ranks, precisions = [], []
    for start in range(0, len(asking), QUERIES_AT_ONCE):
        # f64, so that equal vectors give equal scores whatever place they have in the product.
        scores = queries[asking[start : start + QUERIES_AT_ONCE]].astype(np.float64) @ candidates.astype(np.float64).T
        flags = relevant[start : start + QUERIES_AT_ONCE]
        ranks.append(best_ranks(scores, flags))
        precisions.append(average_precisions(scores, flags))
    return Ranked(
        np.concatenate(ranks),
        np.concatenate(precisions),
        np.full(len(asking), len(candidates)),
        relevant.sum(axis=1),
        [groups[position] for position in asking],
    )


def relevance(gallery: Gallery, direction: Direction) -> Flags:
    """[queries, candidates]: what answers what."""
    flags = np.zeros((len(gallery.images), len(gallery.texts)), bool)
    for image, texts in enumerate(gallery.captions):
        flags[image, list(texts)] = True
    return flags if direction == "i2t" else flags.T


def join(parts: Sequence[Ranked]) -> Ranked:
    return Ranked(
        np.concatenate([part.ranks for part in parts]),
        np.concatenate([part.average_precision for part in parts]),
        np.concatenate([part.candidates for part in parts]),
        np.concatenate([part.right for part in parts]),
        [group for part in parts for group in part.groups],
    )


def _groups(gallery: Gallery, direction: Direction) -> list[Hashable]:
    """A text of one picture is in that picture's group; one of several, as a keyword, stands for itself."""
    if direction == "i2t":
        return list(gallery.groups)
    owners: list[list[int]] = [[] for _ in gallery.texts]
    for image, texts in enumerate(gallery.captions):
        for text in texts:
            owners[text].append(image)
    return [gallery.groups[own[0]] if len(own) == 1 else ("text", text) for text, own in enumerate(owners)]
