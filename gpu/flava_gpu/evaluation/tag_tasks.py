"""Tasks about a picture and a sentence, made from the emoji set's tags: entailment in three classes, yes/no questions.

For a concept and a word that enough concepts are tagged with:

    entailed       the word is one of the concept's tags
    neutral        it is none, but of the concepts that share some tag with this one, at least a fifth carry the word: what
                   the sentence says might be so (wine and "fruit")
    contradicted   no concept that shares any tag with this one, and none of its subgroup, carries the word

What lies between is left out. Per split every word has equally many pairs of each class, so that the sentence alone tells
nothing; what the picture alone tells stands in the table. A pair of concept and word is in one split only, and the splits
show different styles: training styles, FxEmojis, OpenMoji. The labels come from volunteers' tags, not from annotators:
a missing tag makes a wrong label.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from flava_gpu.evaluation.emoji import Picture, of
from flava_gpu.evaluation.errors import EvaluationDataError
from flava_gpu.evaluation.tasks import Examples, Splits, Task
from flava_gpu.pairs import Role

ENTAILMENT = ("entailed", "neutral", "contradicted")
ANSWERS = ("yes", "no")
SENTENCE = "this has to do with {}"
QUESTIONS = {
    word: f"is there {phrase}?"
    for word, phrase in (
        line.split(": ")
        for line in """animal: an animal
person: a person
vehicle: a vehicle
plant: a plant
fruit: a fruit
vegetable: a vegetable
bird: a bird
building: a building
ball: a ball
clock: a clock
hand: a hand
heart: a heart
tool: a tool
arrow: an arrow
button: a button
drink: something to drink
food: something to eat
clothing: something to wear
moon: a moon
star: a star
cloud: a cloud
snow: snow
water: water
boat: a boat
car: a car
hat: a hat
flower: a flower
insect: an insect
phone: a phone
letter: a letter
circle: a circle
square: a square
triangle: a triangle
mountain: a mountain
cat: a cat
instrument: a musical instrument
smile: someone who smiles
child: a child
woman: a woman
money: money
""".splitlines()
    )
}
NO_TOPIC = frozenset(
    "like not two right ily omg bae xoxo one you oclock thirty left down double facing open large small good fast whatever "
    "move hold together high feels words meaning note heavy pair rightwards stop record japanese chinese forbidden".split()
)
"""Frequent tags that name nothing a sentence could be about."""
LEAST_CONCEPTS = 8
"""That carry a word."""
LEAST_SHARED = 5
"""Concepts that carry a tag by which two are related."""
RELATED = 0.2
SHARES = (("train", 0.7), ("validation", 0.1), ("test", 0.2))
ROLES: dict[str, Role] = {"train": "train-style", "validation": "dev-style", "test": "test-style"}
SENTENCES_PER_WORD = {"train": 10, "validation": 4, "test": 3}
"""Of each class, at most."""
QUESTIONS_PER_WORD = {"train": 40, "validation": 10, "test": 15}


class TagGraph:
    """Concepts and what they are tagged with, as a table of flags [concepts, tags]."""

    def __init__(self, pictures: Iterable[Picture]) -> None:
        shown = {picture.concept: picture for picture in pictures}
        own = {concept: {tag.lower() for tag in picture.tags} for concept, picture in shown.items()}
        self.concepts = sorted(shown)
        self.tags = sorted(set().union(*own.values()))
        self.flags = np.array([[tag in own[concept] for tag in self.tags] for concept in self.concepts])
        subgroups = [shown[concept].subgroup for concept in self.concepts]
        self.same_subgroup = np.array([[one == other for other in subgroups] for one in subgroups])

    def topics(self) -> list[str]:
        """Words that sentences may be about."""
        carriers = dict(zip(self.tags, self.flags.sum(axis=0).tolist(), strict=True))
        return [
            tag
            for tag in self.tags
            if carriers[tag] >= LEAST_CONCEPTS and tag.isalpha() and len(tag) > 2 and tag not in NO_TOPIC
        ]

    def classes(self, words: Iterable[str]) -> dict[tuple[str, str], str]:
        """ENTAILMENT's class of every pair of concept and word that has one."""
        wanted = sorted(set(words) & set(self.tags))
        flags = self.flags.astype(np.float32)
        carries = flags[:, [self.tags.index(word) for word in wanted]]  # [concepts, words]
        together = flags.T @ carries  # [tags, words]: concepts with both
        carriers = flags.sum(axis=0)
        # Of a tag's other carriers the share with the word. A concept that lacks the word does not count among those with
        # it, so that only the denominator has to leave it out.
        shares = np.where(carriers[:, None] >= LEAST_SHARED, together / np.maximum(carriers - 1, 1)[:, None], 0)
        related = np.stack([shares[own].max(axis=0) for own in self.flags])  # [concepts, words]
        is_reachable = (flags @ (together > 0) > 0) | (self.same_subgroup @ carries > 0)
        found: dict[tuple[str, str], str] = {}
        for row, concept in enumerate(self.concepts):
            for column, word in enumerate(wanted):
                if carries[row, column]:
                    found[concept, word] = "entailed"
                elif related[row, column] >= RELATED:
                    found[concept, word] = "neutral"
                elif not is_reachable[row, column]:
                    found[concept, word] = "contradicted"
        return found


def entailment_task(pictures: Sequence[Picture]) -> Task:
    def load() -> list[Splits]:
        graph = TagGraph(of(pictures, "test-style", "train"))
        classes = graph.classes(graph.topics())
        return [pair_splits(pictures, classes, ENTAILMENT, SENTENCE.format, SENTENCES_PER_WORD)]

    about = "does the sentence follow from the picture: entailed, neutral, contradicted (from tags)"
    return Task("entailment", about, "multimodal_cls", ENTAILMENT, load)


def question_task(pictures: Sequence[Picture]) -> Task:
    def load() -> list[Splits]:
        graph = TagGraph(of(pictures, "test-style", "train"))
        answers = {"entailed": "yes", "contradicted": "no"}
        classes = {pair: answers[c] for pair, c in graph.classes(QUESTIONS).items() if c in answers}
        return [pair_splits(pictures, classes, ANSWERS, QUESTIONS.__getitem__, QUESTIONS_PER_WORD)]

    return Task("questions", "yes/no questions about the picture (from tags)", "multimodal_cls", ANSWERS, load)


def pair_splits(
    pictures: Sequence[Picture],
    classes: Mapping[tuple[str, str], str],
    labels: Sequence[str],
    say: Callable[[str], str],
    per_word: Mapping[str, int],
) -> Splits:
    """Balanced splits; `say` makes a sentence of a word. Raises EvaluationDataError when a split has no pairs."""
    parts: dict[str, Examples] = {}
    for split, role in ROLES.items():
        shown: dict[str, list[Picture]] = defaultdict(list)
        for picture in of(pictures, role, "train"):
            shown[picture.concept].append(picture)
        pool: dict[tuple[str, str], list[str]] = defaultdict(list)
        for (concept, word), label in classes.items():
            if concept in shown and split_of(concept, word) == split:
                pool[word, label].append(concept)
        chosen: list[tuple[Picture, str, str]] = []
        for word in sorted({word for word, _ in pool}):
            count = min(per_word[split], *(len(pool[word, label]) for label in labels))
            for label in labels:
                ordered = sorted(pool[word, label], key=lambda concept: _hash("order", concept, word))
                for concept in ordered[:count]:
                    styles = shown[concept]
                    chosen.append((styles[_hash("style", concept, word) % len(styles)], word, label))
        if not chosen:
            raise EvaluationDataError(f"no pairs of pictures and words in the split {split}")
        parts[split] = Examples(
            np.array([labels.index(label) for _, _, label in chosen]),
            [say(word) for _, word, _ in chosen],
            [picture.path for picture, _, _ in chosen],
            [picture.concept for picture, _, _ in chosen],
        )
    return Splits(parts["train"], parts["validation"], parts["test"])


def split_of(concept: str, word: str) -> str:
    place = (_hash("split", concept, word) % 1000) / 1000
    for split, share in SHARES:
        if place < share:
            return split
        place -= share
    return SHARES[-1][0]


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:6], "big")
