"""Each suite's rows of the table: tasks in, scores with their floors and intervals out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib

from flava_gpu.evaluation.confidence import Estimate
from flava_gpu.evaluation.emoji import Picture, of
from flava_gpu.evaluation.emoji_retrieval import keyword_task, name_task
from flava_gpu.evaluation.finetuned import Tell, finetune_task
from flava_gpu.evaluation.floors import task_floors
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.probe import Prepared, probe_task
from flava_gpu.evaluation.progress import bar
from flava_gpu.evaluation.retrieval import DIRECTIONS, Direction, Ranked, RetrievalTask
from flava_gpu.evaluation.retrieval_suite import FLOOR_KINDS, SPLITS_WITH_PIXELS, rank_model, rank_pixels
from flava_gpu.evaluation.scores import Floor, Outcome, Score
from flava_gpu.evaluation.tasks import Task

WORDS: dict[Direction, str] = {"i2t": "picture to name", "t2i": "name to picture"}


def probe_scores(prepared: Sequence[Prepared], engine: str, jobs: int | None = None) -> Iterator[Score]:
    """In the order they are done. A task keeps one core busy, so that several run beside each other."""
    order = sorted(prepared, key=lambda one: -len(one.task.labels) * sum(len(fold.train) for fold in one.folds))
    count = jobs or max(1, min(os.cpu_count() or 1, len(order)))
    with joblib.parallel_config("loky" if count > 1 else "sequential", inner_max_num_threads=1 if count > 1 else None):
        parallel = joblib.Parallel(n_jobs=count, return_as="generator_unordered")
        with bar(len(order), "linear probes", "task", silent_below=2) as progress:
            scores: Any = parallel(joblib.delayed(_probe_score)(one, engine) for one in order)
            for score in scores:
                progress.update()
                yield score


def _probe_score(prepared: Prepared, engine: str) -> Score:
    outcome = probe_task(prepared)
    return classified(prepared.task, "linear probe", engine, outcome, task_floors(prepared.task, prepared.folds))


def finetune_score(
    checkpoint: Path, task: Task, hyperparameters: dict[str, Any], seed: int, work: Path, tell: Tell
) -> Score:
    outcome = finetune_task(checkpoint, task, hyperparameters, seed, work, tell)
    return classified(task, "fine-tuned", "torch", outcome, task_floors(task, task.checked_splits()))


def classified(task: Task, suite: str, engine: str, outcome: Outcome, floors: tuple[Floor, ...]) -> Score:
    return Score(
        task=task.name,
        about=task.about,
        suite=suite,
        metric=task.metric_name,
        n=len(outcome.targets),
        got=outcome.estimate(task.metric),
        floors=floors,
        classes=len(task.labels),
        engine=engine,
        mean_per_class=outcome.mean_per_class,
        details={"accuracy": round(100 * outcome.accuracy.value, 2), **outcome.chosen},
    )


def retrieval_scores(model: EvaluatedModel, pictures: Sequence[Picture]) -> list[Score]:
    """R@1 and R@5 of splits A and B (docs/evaluation.md), both directions."""
    scores = []
    training = of(pictures, "train-style", "train")
    for split in ("A", "B"):
        task = name_task(split, pictures)
        floors: list[tuple[str, tuple[Ranked, Ranked]]] = []
        if split in SPLITS_WITH_PIXELS:
            floors = [(name, rank_pixels(task, training, kind)) for name, kind in FLOOR_KINDS.items()]
        for number, direction in enumerate(DIRECTIONS):
            ranked = rank_model(model, task, direction)
            for k in (1, 5):
                pixels = [Floor(name, both[number].recall(k).value) for name, both in floors]
                got = ranked.recall(k)
                scores.append(
                    _retrieved(
                        task,
                        f"{split}, {WORDS[direction]}",
                        model,
                        f"R@{k}",
                        ranked,
                        got,
                        ranked.chance_recall(k),
                        pixels,
                    )
                )
    return scores


def keyword_score(model: EvaluatedModel, pictures: Sequence[Picture], keywords: dict[str, list[str]]) -> Score:
    """Mean average precision of English keywords over the pictures of the held-out style."""
    task = keyword_task(of(pictures, "test-style", "train"), keywords)
    ranked = rank_model(model, task, "t2i")
    chance = ranked.chance_average_precision()
    return _retrieved(task, "keyword to pictures", model, "mAP", ranked, ranked.mean_average_precision(), chance, [])


def _retrieved(
    task: RetrievalTask,
    name: str,
    model: EvaluatedModel,
    metric: str,
    ranked: Ranked,
    got: Estimate,
    chance: float,
    floors: Sequence[Floor],
) -> Score:
    return Score(
        task=name,
        about=task.about,
        suite="retrieval",
        metric=metric,
        n=len(ranked.ranks),
        got=got,
        floors=(Floor("chance", chance), *floors),
        engine=model.encoder.name,
    )
