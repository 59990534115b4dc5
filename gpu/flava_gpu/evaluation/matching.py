"""Image-text matching (ITM): does the multimodal encoder tell a picture's own name from another's? Balanced pairs, chance 50 %.

Every picture is asked twice, with its own name and with another concept's: any other, or one of the same subgroup, which is
the hard kind. Both are answered by the head as it was trained; no threshold is chosen here. The encoders' states come from
the engine under evaluation, the multimodal encoder and its head from the checkpoint.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from flava_gpu.evaluation.emoji import Picture
from flava_gpu.evaluation.errors import EvaluationDataError
from flava_gpu.evaluation.metrics import Values, auroc
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.scores import Floor, Outcome, Score
from flava_gpu.evaluation.tasks import Examples

Negatives = Literal["random", "same subgroup"]
NEGATIVES: tuple[Negatives, ...] = ("random", "same subgroup")
MATCH_CLASS = 1  # 0 is a mismatch
SEED = 0


@dataclass(frozen=True)
class Matched:
    outcome: Outcome
    scores: Values
    """Of a match, by pair."""


def matching_pairs(pictures: Sequence[Picture], negatives: Negatives) -> Examples:
    """Each picture with its own name (1), then all of them with another's (0); those without another are left out."""
    names = {picture.concept: picture.name for picture in pictures}
    kinds = {picture.concept: "" if negatives == "random" else picture.subgroup for picture in pictures}
    drawn = draw_others([picture.concept for picture in pictures], kinds)
    shown = [picture for picture, other in zip(pictures, drawn, strict=True) if other is not None]
    others = [names[other] for other in drawn if other is not None]
    if not shown:
        raise EvaluationDataError(f"no picture has another name to be asked with ({negatives})")
    return Examples(
        np.repeat([MATCH_CLASS, 0], len(shown)),
        [picture.name for picture in shown] + others,
        [picture.path for picture in shown] * 2,
        [picture.concept for picture in shown] * 2,
    )


def draw_others(concepts: Sequence[str], kinds: Mapping[str, str]) -> list[str | None]:
    """For each of `concepts`, another of its kind; None where it is alone. `kinds` of every concept to draw from."""
    rng = random.Random(SEED)
    mates: dict[str, list[str]] = defaultdict(list)
    for concept, kind in kinds.items():
        mates[kind].append(concept)
    others: list[str | None] = []
    for concept in concepts:
        other = None if len(mates[kinds[concept]]) < 2 else concept
        while other == concept:
            other = rng.choice(mates[kinds[concept]])
        others.append(other)
    return others


def match(model: EvaluatedModel, examples: Examples) -> Matched:
    model.require_heads("itm")
    assert examples.images is not None
    assert examples.texts is not None
    with torch.no_grad():
        logits = torch.cat([model.flava.itm_head(states) for states in model.fused(examples.images, examples.texts)])
    scores = logits.double().softmax(dim=1)[:, MATCH_CLASS].numpy()  # [pairs]
    return Matched(Outcome(examples.targets, logits.argmax(dim=1).numpy(), examples.groups), scores)


def matching_score(model: EvaluatedModel, pictures: Sequence[Picture], negatives: Negatives, about: str) -> Score:
    examples = matching_pairs(pictures, negatives)
    matched = match(model, examples)
    return Score(
        task=f"ITM, {negatives}",
        about=about,
        suite="ITM",
        metric="accuracy",
        n=len(examples),
        got=matched.outcome.accuracy,
        floors=(Floor("chance", 0.5),),
        classes=2,
        engine=model.encoder.name,
        mean_per_class=matched.outcome.mean_per_class,
        details={"auroc": round(auroc(examples.targets, matched.scores), 4)},
    )
