"""Zero-shot classification: a class is the mean of its names' vectors over prompt templates, a picture the nearest class.

CLIP's protocol, which FLAVA's paper follows for ImageNet: all templates of a class are embedded, each vector is normalized,
then their mean is. Nothing is trained and nothing chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flava_gpu.evaluation.encoders import unit
from flava_gpu.evaluation.floors import majority
from flava_gpu.evaluation.metrics import accuracy
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.scores import Floor, Outcome, Score
from flava_gpu.evaluation.tasks import Examples, Splits
from flava_gpu.pair_sampling import TEMPLATES

PLAIN = "{}"
"""A name without words around it, as training shows most of them."""


@dataclass(frozen=True)
class ZeroShotTask:
    name: str
    about: str
    names: Sequence[Sequence[str]]
    """Of each class, one or more; all count alike."""
    load: Callable[[], Splits]
    """Training items count for the floor alone."""
    templates: Sequence[str] = (PLAIN, *TEMPLATES)


def class_vectors(model: EvaluatedModel, task: ZeroShotTask) -> NDArray[np.float32]:
    """f32 [classes, projection_dim], each of length 1."""
    means = []
    for names in task.names:
        prompts = [template.format(name) for name in names for template in task.templates]
        means.append(model.texts(prompts, "projected").mean(axis=0))  # each row has length 1
    return unit(np.stack(means))


def classify(model: EvaluatedModel, task: ZeroShotTask, examples: Examples) -> Outcome:
    assert examples.images is not None
    # All prompts at once, so that the engine is started once.
    prompts = [template.format(name) for names in task.names for name in names for template in task.templates]
    model.texts(prompts, "projected")
    scores = model.images(examples.images, "projected") @ class_vectors(model, task).T  # [pictures, classes]
    return Outcome(examples.targets, scores.argmax(axis=1), examples.groups)


def zero_shot_score(model: EvaluatedModel, task: ZeroShotTask) -> Score:
    splits = task.load()
    outcome = classify(model, task, splits.test)
    most_frequent = accuracy(splits.test.targets, majority(splits))
    return Score(
        task=task.name,
        about=task.about,
        suite="zero-shot",
        metric="accuracy",
        n=len(splits.test),
        got=outcome.accuracy,
        floors=(Floor("chance", 1 / len(task.names)), Floor("majority", most_frequent)),
        classes=len(task.names),
        engine=model.encoder.name,
        mean_per_class=outcome.mean_per_class,
    )
