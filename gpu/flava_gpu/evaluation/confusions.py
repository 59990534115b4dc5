"""A picture of the worst confusions: drawings of the held-out style beside what their best names are usually drawn like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # the backend must be chosen first
import numpy as np
from PIL import Image

from flava_gpu.evaluation.emoji import Picture, of
from flava_gpu.evaluation.emoji_retrieval import name_task
from flava_gpu.evaluation.metrics import best_ranks
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.retrieval import relevance
from flava_gpu.preprocess import flatten_on_white

COUNT = 24
COLUMNS = 4
REFERENCE_STYLE = "noto"
"""A training style that has every concept (Apache-2.0)."""
CREDIT = (
    "Left of each pair: OpenMoji, the held-out style. All emojis designed by OpenMoji - the open-source emoji and icon project. "
    "License: CC BY-SA 4.0.\nRight: the concept it is taken for, by Noto Emoji, (c) Google LLC, Apache-2.0. This figure: CC BY-SA 4.0."
)
MAX_NAME = 26


@dataclass(frozen=True)
class Confusion:
    picture: Picture
    taken_for: str
    """Key of the concept whose name scores best."""
    rank: int
    """Of the picture's own name, from 1."""
    margin: float
    """Cosine of the wrong name less that of the right one."""


def worst_confusions(model: EvaluatedModel, pictures: Sequence[Picture], count: int = COUNT) -> list[Confusion]:
    """Of split A, those that the model is surest of and most wrong about: by margin, each wrong concept once."""
    (gallery,) = name_task("A", pictures).galleries
    shown = {picture.path: picture for picture in of(pictures, "test-style", "train")}
    concepts = [shown[path].concept for path in gallery.images]
    image, text = model.images(gallery.images, "projected"), model.texts(gallery.texts, "projected")
    scores = image.astype(np.float64) @ text.astype(np.float64).T  # [pictures, names]
    ranks = best_ranks(scores, relevance(gallery, "i2t"))
    own = scores[np.arange(len(concepts)), [captions[0] for captions in gallery.captions]]
    margins = scores.max(axis=1) - own
    found: list[Confusion] = []
    seen: set[str] = set()
    for index in np.argsort(-margins, kind="stable"):
        wrong = concepts[int(scores[index].argmax())]
        if ranks[index] == 0 or wrong in seen:
            continue
        seen.add(wrong)
        picture = shown[gallery.images[int(index)]]
        found.append(Confusion(picture, wrong, int(ranks[index]) + 1, float(margins[index])))
        if len(found) == count:
            break
    return found


def draw_confusions(model: EvaluatedModel, pictures: Sequence[Picture], path: Path) -> None:
    found = worst_confusions(model, pictures)
    references = {p.concept: p for p in pictures if p.style == REFERENCE_STYLE}
    rows = -(-len(found) // COLUMNS)
    figure = plt.figure(figsize=(2.5 * COLUMNS, 1.55 * rows + 0.7), dpi=80)
    grid = figure.add_gridspec(rows, 2 * COLUMNS, left=0.01, right=0.99, top=0.93, bottom=0.09, hspace=0.75, wspace=0.1)
    figure.suptitle(
        "Held-out drawings that the model is most wrong about: drawn | taken for (rank of the right name)", fontsize=10
    )
    for index, confusion in enumerate(found):
        for side, shown in enumerate((confusion.picture, references[confusion.taken_for])):
            axes = figure.add_subplot(grid[index // COLUMNS, 2 * (index % COLUMNS) + side])
            axes.imshow(np.asarray(flatten_on_white(Image.open(shown.path))))
            axes.axis("off")
            note = f" ({confusion.rank})" if side == 0 else ""
            axes.set_title(_wrapped(shown.name) + note, fontsize=6)
    figure.text(0.01, 0.015, CREDIT, fontsize=6.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
    # A palette halves the file, and drawings have few colours.
    Image.open(path).convert("RGB").quantize(colors=128).save(path, optimize=True)


def _wrapped(name: str) -> str:
    words, lines = name[: 2 * MAX_NAME].split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > MAX_NAME // 2 and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines[:3])
