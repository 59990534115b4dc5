"""How much an image encoder's token 0 tells of what a picture shows: the curve of a stage that has no labels.

A linear probe of the emoji's group, fitted on training styles and scored on the dev style. Its strength is fixed: this is a curve
to watch, and the evaluation suites have the protocol with a swept one.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from transformers import FlavaImageModel

from flava_gpu.pairs import Pairs, read_rows
from flava_gpu.preprocess import stored_pictures, to_pixel_values

INVERSE_L2 = 0.1
"""scikit-learn's C, over features of unit variance as the final layer norm makes them."""
MAX_ITERATIONS = 200
BATCH = 128


@dataclass(frozen=True)
class Labelled:
    pixel_values: Tensor  # f32 [n, 3, size, size]
    groups: list[str]


def labelled(data: Path, pairs: Pairs, size: int) -> Labelled:
    """The plain pictures of emoji among `pairs`."""
    group_of = {row["key"]: row["group"] for row in read_rows(data) if row["kind"] == "concept"}
    chosen = [
        index
        for index, (concept, kind) in enumerate(zip(pairs.concepts, pairs.kinds, strict=True))
        if kind == "plain" and concept in group_of
    ]
    pixel_values = to_pixel_values(stored_pictures(pairs.images[chosen]), size)
    return Labelled(pixel_values, [group_of[pairs.concepts[index]] for index in chosen])


def probe_groups(encoder: FlavaImageModel, train: Labelled, dev: Labelled) -> dict[str, float]:
    """Accuracy in percent on `dev`, and what always saying the group that is most frequent there would reach."""
    classifier = LogisticRegression(C=INVERSE_L2, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(token_0(encoder, train.pixel_values), train.groups)
    predicted = classifier.predict(token_0(encoder, dev.pixel_values))
    return {
        "group_accuracy": 100 * float(np.mean(predicted == np.array(dev.groups))),
        "majority": 100 * Counter(dev.groups).most_common(1)[0][1] / len(dev.groups),
    }


@torch.no_grad()
def token_0(encoder: FlavaImageModel, pixel_values: Tensor) -> NDArray[np.float32]:
    """After the final layer norm, f32 [n, hidden_size]."""
    parts: list[Tensor] = []
    for part in pixel_values.split(BATCH):
        with torch.autocast("cpu", torch.bfloat16):
            states = encoder.encoder(encoder.embeddings(part)).last_hidden_state[:, 0]
        parts.append(encoder.layernorm(states.float()))
    return torch.cat(parts).numpy()
