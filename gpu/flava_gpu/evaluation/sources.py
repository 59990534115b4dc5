"""Where an evaluation's model and data are, and the tasks that they make."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from flava_gpu.evaluation.cached_encoder import CachedEncoder
from flava_gpu.evaluation.digits import digits_task
from flava_gpu.evaluation.emoji import Picture, read_pictures
from flava_gpu.evaluation.emoji_tasks import emoji_task
from flava_gpu.evaluation.encoders import EdgeEncoder, TorchEncoder
from flava_gpu.evaluation.errors import CheckpointMissingError, EngineFailedError, EvaluationError
from flava_gpu.evaluation.labelled_tasks import (
    emotion_task,
    gloss_task,
    mail_task,
    mnist_task,
    word_pair_task,
    word_task,
)
from flava_gpu.evaluation.model import EvaluatedModel, load_checkpoint
from flava_gpu.evaluation.tag_tasks import entailment_task, question_task
from flava_gpu.evaluation.tasks import Task

EngineName = Literal["edge", "torch"]
REPOSITORY = Path(__file__).parents[3]
EDGE_COMMAND = (REPOSITORY / "node_modules/.bin/node", REPOSITORY / "tools/eval/encode.ts")
"""The edge engine in Node; this package knows no more of it than what encoders.py says of its files."""
CHECKPOINT = "checkpoint"
TASKS = (
    "digits 8x8",
    "MNIST",
    "emoji group",
    "emoji subgroup",
    "gloss class",
    "word sentiment",
    "spam",
    "word pairs",
    "entailment",
    "questions",
    "emoji sentiment",
)


@dataclass(frozen=True)
class Sources:
    """Folders: the emoji set, the labelled sets, the packages they were made of, and what is written on the way."""

    data: Path = Path("data/emoji")
    labelled: Path = Path("data/labelled")
    cache: Path = Path("data/cache")
    work: Path = Path("build/evaluation")

    @cached_property
    def pictures(self) -> list[Picture]:
        return read_pictures(self.data)

    @property
    def data_hash(self) -> str | None:
        """Of the emoji set; None where it has not been made, which not every suite needs."""
        path = self.data / "manifest.json"
        return json.loads(path.read_text(encoding="utf-8"))["hash"] if path.is_file() else None

    def task(self, name: str) -> Task:
        """Raises DataMissingError where its data has not been made."""
        makers: dict[str, Callable[[], Task]] = {
            "digits 8x8": lambda: digits_task(self.work),
            "MNIST": lambda: mnist_task(self.labelled),
            "emoji group": lambda: emoji_task("group", self.pictures),
            "emoji subgroup": lambda: emoji_task("subgroup", self.pictures),
            "gloss class": lambda: gloss_task(self.labelled),
            "word sentiment": lambda: word_task(self.labelled),
            "spam": lambda: mail_task(self.labelled),
            "word pairs": lambda: word_pair_task(self.labelled),
            "entailment": lambda: entailment_task(self.pictures),
            "questions": lambda: question_task(self.pictures),
            "emoji sentiment": lambda: emotion_task(self.labelled, self.pictures),
        }
        assert makers.keys() == set(TASKS)
        if name not in makers:
            raise EvaluationError(f"unknown task {name!r}, known are {list(TASKS)}")
        return makers[name]()


def open_model(engine: EngineName, package: Path, checkpoint: Path | None, cache: Path | None = None) -> EvaluatedModel:
    """`checkpoint` None: the one that the package was made of, where a suite needs it. `cache` keeps fp32 vectors."""
    if engine == "torch":
        folder = checkpoint or find_checkpoint(package)
        encoder = TorchEncoder(*load_checkpoint(folder))
        return EvaluatedModel(encoder if cache is None else CachedEncoder(encoder, folder, cache), folder)
    missing = [str(part) for part in EDGE_COMMAND if not part.exists()]
    if missing:
        raise EngineFailedError(
            f"{missing[0]} is missing: the edge engine needs the whole repository and `npm install`"
        )
    command = [*map(str, EDGE_COMMAND), "--model", str(package)]
    try:
        folder = checkpoint or find_checkpoint(package)
    except CheckpointMissingError:
        folder = None  # suites that need it say so
    return EvaluatedModel(EdgeEncoder(command), folder)


def find_checkpoint(package: Path) -> Path:
    """The package's own checkpoint/, or that of a package beside it that was made of the same one."""
    if (package / CHECKPOINT).is_dir():
        return package / CHECKPOINT
    wanted = package_identity(package).get("checkpoint")
    for other in sorted(package.resolve().parent.iterdir()):
        if wanted and (other / CHECKPOINT).is_dir() and package_identity(other).get("checkpoint") == wanted:
            return other / CHECKPOINT
    raise CheckpointMissingError(
        f"{package}: no {CHECKPOINT}/ in it or in a package of the same checkpoint beside it; --checkpoint names one"
    )


def package_identity(package: Path) -> dict[str, Any]:
    """space, weights and checkpoint of a model package; empty for a folder that is none."""
    path = package / "config.json"
    if not path.is_file():
        return {}
    own = json.loads(path.read_text(encoding="utf-8")).get("flava_edge", {})
    return {key: own[key] for key in ("space", "weights", "checkpoint") if key in own}
