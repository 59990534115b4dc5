"""Which pictures and captions stand in a batch of pairs, and which captions are exchanged for image-text matching.

Everything is drawn from the generator that is handed over: a batch depends on the seed and the update's number alone, so that a
resumed run draws what the first would have drawn.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from flava_gpu.pairs import Pairs, PictureKind

TEMPLATES = ("a picture of {}", "an icon of {}", "{} emoji", "a drawing of {}", "the {} symbol", "this is {}")


@dataclass(frozen=True)
class CaptionsConfig:
    name: float
    """Share of captions that are the concept's name; the others are keywords, or both."""
    template: float
    """Share that is wrapped in a phrase."""


@dataclass(frozen=True)
class PicturesConfig:
    """Shares of an emoji's pictures, where it has such ones; the rest are plain."""

    skin: float
    outlined: float
    line: float
    icon: float
    others: float
    """Share of a batch whose concepts are icons and clip-art that are no emoji."""


@dataclass(frozen=True)
class DrawnPairs:
    """`images` uint8 [batch, 4, side, side]; no concept stands twice."""

    images: Tensor
    concepts: list[str]
    captions: list[str]
    words: list[set[str]]
    """Every caption of each, in lower case."""


class PairSampler:
    def __init__(self, pairs: Pairs, captions: CaptionsConfig, pictures: PicturesConfig) -> None:
        self.pairs = pairs
        self.captions = captions
        self.pictures = pictures
        kinds: tuple[PictureKind, ...] = ("plain", "skin", "outlined", "line", "icon")
        self.by_kind = {kind: pairs.by_concept(kind) for kind in kinds}
        self.emoji = sorted(self.by_kind["plain"])
        self.others = sorted(set(pairs.names) - set(self.emoji))
        self.neighbours: dict[str, list[str]] = {}
        for concept in self.emoji:
            self.neighbours.setdefault(pairs.subgroups.get(concept, ""), []).append(concept)

    def draw(self, batch_size: int, rng: random.Random) -> DrawnPairs:
        others = self.others_in(batch_size)
        chosen = [*rng.sample(self.emoji, batch_size - others), *rng.sample(self.others, others)]
        rng.shuffle(chosen)
        indices = [self._picture(concept, rng) for concept in chosen]
        captions = [self.caption(concept, rng) for concept in chosen]
        return DrawnPairs(self.pairs.images[indices], chosen, captions, [self.words(concept) for concept in chosen])

    def others_in(self, batch_size: int) -> int:
        """Of a batch, how many concepts are icons and clip-art; the rest must be emoji."""
        return min(len(self.others), round(batch_size * self.pictures.others))

    def mismatched(self, concept: str, hard: float, rng: random.Random) -> str:
        """Another concept, whose name is no caption of this one: of the same subgroup for a share `hard` of the emoji, else any.

        Without the exception a dog's face with the caption "dog" would be taught as a mismatch.
        """
        own = self.words(concept)

        def is_other(other: str) -> bool:
            return other != concept and self.pairs.captions[other][0].lower() not in own

        near = list(filter(is_other, self.neighbours.get(self.pairs.subgroups.get(concept, ""), [])))
        if near and rng.random() < hard:
            return rng.choice(near)
        pool = self.others if self.others and concept.startswith("icon:") else self.emoji
        return rng.choice(list(filter(is_other, pool)))

    def words(self, concept: str) -> set[str]:
        """All its captions, in lower case."""
        return {caption.lower() for caption in self.pairs.captions[concept]}

    def caption(self, concept: str, rng: random.Random, other_than: Collection[str] = ()) -> str:
        """Its name, keywords of it or both, maybe in a phrase; no keyword of `other_than` (lower case)."""
        name, *keywords = self.pairs.captions[concept]
        keywords = [keyword for keyword in keywords if keyword.lower() not in other_than]
        caption = name
        if keywords and rng.random() >= self.captions.name:
            some = rng.sample(keywords, min(len(keywords), rng.randint(1, 3)))
            caption = ", ".join([name, *some] if rng.random() < 0.5 else some)
        return rng.choice(TEMPLATES).format(caption) if rng.random() < self.captions.template else caption

    def _picture(self, concept: str, rng: random.Random) -> int:
        if concept not in self.by_kind["plain"]:
            return rng.choice(self.by_kind["icon"][concept])
        share = rng.random()
        for kind in ("skin", "outlined", "line", "icon"):
            share -= getattr(self.pictures, kind)
            if share < 0 and concept in self.by_kind[kind]:
                return rng.choice(self.by_kind[kind][concept])
        return rng.choice(self.by_kind["plain"][concept])
