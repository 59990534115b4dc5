"""Small data sets and runs for the tests of fine-tuning: coloured shapes, captions, and a job run in this process."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flava_gpu.distributed import Ranks
from flava_gpu.finetune.outcome import Reporter
from flava_gpu.finetune.protocol import (
    CheckpointEvent,
    DoneEvent,
    LogEvent,
    MetricsEvent,
    ResumePoint,
    TrainingEvent,
    TrainingJob,
)
from flava_gpu.finetune.run import run
from flava_gpu.procedural_pictures import IntegerRandom
from flava_gpu.training.errors import StoppedError

EMOJI = Path(__file__).parents[2] / "models" / "flava-emoji" / "checkpoint"
COLORS = {"red": (220, 40, 40), "blue": (40, 60, 220), "green": (40, 170, 60), "yellow": (240, 210, 40)}
SHAPES = ("square", "ring", "stripes")


def picture(color: str, shape: str, random: IntegerRandom, size: int = 32) -> bytes:
    """A PNG of a coloured shape on white, somewhere."""
    pixels = np.full((size, size, 3), 255, np.uint8)
    y, x = np.mgrid[0:size, 0:size]
    reach = size // 4 + random.below(size // 8)
    dx, dy = x - size // 3 - random.below(size // 3), y - size // 3 - random.below(size // 3)
    inside = (abs(dx) < reach) & (abs(dy) < reach)
    if shape == "ring":
        inside = (dx * dx + dy * dy < reach * reach) & (dx * dx + dy * dy > reach * reach // 4)
    elif shape == "stripes":
        inside = y // (size // 8) % 2 == 0
    pixels[inside] = COLORS[color]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(make: Callable[[IntegerRandom], dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    random = IntegerRandom(seed)
    return [make(random) for _ in range(count)]


def pick(random: IntegerRandom, items: Iterable[str]) -> str:
    chosen = tuple(items)
    return chosen[random.below(len(chosen))]


def text_row(random: IntegerRandom) -> dict[str, Any]:
    """The label is told by one word of four."""
    label = pick(random, ("good", "bad"))
    words = {"good": ("love", "smile", "happy", "gift"), "bad": ("angry", "broken", "sick", "fear")}[label]
    nouns = ("cat", "dog", "house", "tree", "flower", "moon")
    return {"text": f"{pick(random, nouns)} {pick(random, words)} {pick(random, nouns)}", "label": label}


def image_row(random: IntegerRandom) -> dict[str, Any]:
    color = pick(random, COLORS)
    return {"image": data_uri(picture(color, pick(random, SHAPES), random)), "label": color}


def pair_row(random: IntegerRandom) -> dict[str, Any]:
    """Neither text nor picture alone tells the label: whether the named colour is the picture's."""
    color = pick(random, ("red", "blue"))
    named = pick(random, ("red", "blue"))
    label = "yes" if named == color else "no"
    return {"image": data_uri(picture(color, pick(random, SHAPES), random)), "text": f"{named} thing", "label": label}


def value_row(random: IntegerRandom) -> dict[str, Any]:
    count = random.below(5)
    words = ["love"] * count + ["angry"] * (4 - count)
    return {"text": " ".join(words), "value": 100.0 + 10 * count}


def caption_row(random: IntegerRandom) -> dict[str, Any]:
    color, shape = pick(random, COLORS), pick(random, SHAPES)
    return {"image": data_uri(picture(color, shape, random)), "text": f"{color} {shape}"}


def make_job(
    folder: Path,
    checkpoint: Path,
    method: str,
    training: list[dict[str, Any]],
    validation: list[dict[str, Any]] | None = None,
    hyperparameters: dict[str, Any] | None = None,
    **changed: Any,
) -> TrainingJob:
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingJob(
        **{
            "job": "ftjob-000000000000000000000001",
            "base_checkpoint": str(checkpoint),
            "base_model": "base",
            "method": method,
            "hyperparameters": hyperparameters or {},
            "seed": 3,
            "training": str(write_rows(folder / "training.jsonl", training)),
            "validation": None if validation is None else str(write_rows(folder / "validation.jsonl", validation)),
            "media": [],
            "resume": None,
            "device": "cpu",
            "threads": 1,
            **changed,
        }
    )


class Told:
    """The events of a run in this process."""

    def __init__(self) -> None:
        self.events: list[TrainingEvent] = []

    @property
    def done(self) -> DoneEvent:
        event = self.events[-1]
        assert isinstance(event, DoneEvent)
        return event

    @property
    def checkpoints(self) -> list[CheckpointEvent]:
        return [event for event in self.events if isinstance(event, CheckpointEvent)]

    @property
    def metrics(self) -> list[MetricsEvent]:
        return [event for event in self.events if isinstance(event, MetricsEvent)]

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, LogEvent) and event.level == "warn"]


def run_here(job: TrainingJob, workdir: Path, stop_after_step: int | None = None) -> Told:
    """Runs to the end, or until the metrics of `stop_after_step` are told, as SIGTERM would have it."""
    told = Told()

    def is_stopping() -> bool:
        return stop_after_step is not None and any(event.step >= stop_after_step for event in told.metrics)

    if stop_after_step is None:
        run(job, workdir, Ranks(), Reporter(told.events.append, is_stopping), None)
        return told
    try:
        run(job, workdir, Ranks(), Reporter(told.events.append, is_stopping), None)
    except StoppedError:
        return told
    raise AssertionError("the run ended without a stop")


def resume_point(event: CheckpointEvent, workdir: Path) -> ResumePoint:
    return ResumePoint(event.step, str(workdir / event.folder), event.metrics)
