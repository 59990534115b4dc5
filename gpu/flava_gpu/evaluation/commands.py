"""What the command line's suites do: read what is there, score it, print and write the tables."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flava_gpu.evaluation.confusions import draw_confusions
from flava_gpu.evaluation.emoji import of
from flava_gpu.evaluation.emoji_retrieval import SPLITS_OF_FLAG, name_task
from flava_gpu.evaluation.emoji_tasks import EMOJI_LABELS
from flava_gpu.evaluation.errors import (
    CheckpointMissingError,
    DataMissingError,
    EvaluationDataError,
    HeadMissingError,
)
from flava_gpu.evaluation.finetuned import log_metrics
from flava_gpu.evaluation.keywords import cldr_keywords
from flava_gpu.evaluation.masked_suite import MaskedPatches, mlm_score, mmm_text_score
from flava_gpu.evaluation.matching import NEGATIVES, Negatives, matching_score
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.probe import Prepared, prepare
from flava_gpu.evaluation.report import Report, format_markdown, origin_of, write_report
from flava_gpu.evaluation.retrieval_suite import (
    format_costs,
    format_table,
    is_within_gate,
    print_json,
    quantization_costs,
    score_chance,
    score_model,
    score_pixels,
)
from flava_gpu.evaluation.saved_scores import save_retrieval, save_targets
from flava_gpu.evaluation.scores import Score
from flava_gpu.evaluation.sources import TASKS, Sources, open_model, package_identity
from flava_gpu.evaluation.suites import finetune_score, keyword_score, probe_scores, retrieval_scores
from flava_gpu.evaluation.targets import format_targets, target_lines
from flava_gpu.evaluation.zero_shot import zero_shot_score
from flava_gpu.evaluation.zero_shot_tasks import zero_shot_digits, zero_shot_emoji
from flava_gpu.stages.finetune import FinetuneConfig
from flava_gpu.trained_heads import FUSION_HEADS
from flava_gpu.training.config import load_config

log = logging.getLogger("flava_gpu.evaluation")

SUITES = {
    "table": "every suite in one table, with floors and intervals",
    "probe": "linear probes on the frozen model",
    "zero-shot": "classification by names alone",
    "itm": "image-text matching, random and hard negatives",
    "masked": "masked words and masked patches",
    "finetune": "fine-tuned classification of texts, pictures and pairs",
}
WITH_TASKS = ("probe", "finetune")
FINETUNE_CONFIG = Path("gpu/configs/emoji/finetune.yaml")


MISSING = (DataMissingError, EvaluationDataError, CheckpointMissingError, HeadMissingError)
"""What a job may lack while others go on; an engine that fails would fail them all."""
Job = tuple[str, Callable[[], Sequence[Score]]]
"""Its name for those who read what was not run, and what it does."""


@dataclass
class Collected:
    scores: list[Score] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, job: Job) -> None:
        """What cannot be run for want of data, a checkpoint or a head is told, and the others go on."""
        name, make = job
        try:
            self.scores.extend(make())
        except MISSING as error:
            log.warning("%s: not run: %s", name, error)
            self.skipped.append(f"{name}: {error}")


def retrieval(arguments: argparse.Namespace) -> int:
    sources = _sources(arguments)
    splits = [split for flag in arguments.split or ["A", "B", "C"] for split in SPLITS_OF_FLAG[flag]]
    tasks = [name_task(split, sources.pictures) for split in splits]
    rows = []
    for engine in ("edge", "torch") if arguments.engine == "both" else (arguments.engine,):
        rows += score_model(open_model(engine, arguments.model, arguments.checkpoint, arguments.cache), tasks)
    costs = quantization_costs(rows)
    is_table = not arguments.json and arguments.report is None
    if arguments.json:
        print_json(rows)
    if arguments.report is not None:
        parts = {"rows": [row.to_json() for row in rows], "costs": [cost.to_json() for cost in costs]}
        arguments.report.write_text(json.dumps({"data": sources.data_hash, **parts}), encoding="utf-8")
    if is_table or arguments.save:
        rows = [*rows, *score_chance(tasks), *score_pixels(tasks, sources.pictures)]
    if is_table:
        print(format_table(tasks, rows) + "\n")
    if arguments.save:
        origin = origin_of(_command(arguments), package_identity(arguments.model), sources.data_hash)
        log.info("wrote %s", save_retrieval(arguments.model, origin, rows, costs, arguments.gate_points))
    # Standard error under --json, which promises one kind of object on standard output.
    (log.info if arguments.json else print)(format_costs(costs, arguments.gate_points))
    return 0 if is_within_gate(costs, arguments.gate_points) else 1


def table(arguments: argparse.Namespace) -> int:
    """The report is written anew after each job, so that one that fails in its fourth hour loses no more than itself."""
    sources = _sources(arguments)
    model = open_model(arguments.engine, arguments.model, arguments.checkpoint)
    origin = origin_of(_command(arguments), package_identity(arguments.model), sources.data_hash)
    title = f"{arguments.model.name}: {SUITES[arguments.suite]}"
    collected = Collected()
    report, paths = Report(title, [], [], origin), []
    for job in _jobs(arguments, model, sources):
        collected.add(job)
        report = Report(title, collected.scores, collected.skipped, origin)
        paths = write_report(report, arguments.out or sources.work, arguments.suite)
    print(format_markdown(report))
    for path in paths:
        log.info("wrote %s", path)
    return 0 if collected.scores else 1


def targets(arguments: argparse.Namespace) -> int:
    sources = _sources(arguments)
    model = open_model(arguments.engine, arguments.model, arguments.checkpoint)
    collected = Collected()
    for job in (
        *_retrieval(model, sources),
        *_probe(model, sources, ("emoji group", "emoji subgroup"), arguments.jobs),
        *_matching(model, sources),
    ):
        collected.add(job)
    lines = target_lines(collected.scores, arguments.model, model.checkpoint)
    if arguments.json:
        print(json.dumps([line.to_json() for line in lines], indent=2))
    else:
        print(format_targets(lines))
    if arguments.save:
        origin = origin_of(_command(arguments), package_identity(arguments.model), sources.data_hash)
        log.info("wrote %s", save_targets(arguments.model, {**origin, "engine": arguments.engine}, lines))
    return 1 if collected.skipped else 0


def confusions(arguments: argparse.Namespace) -> int:
    sources = _sources(arguments)
    model = open_model(arguments.engine, arguments.model, arguments.checkpoint)
    path = arguments.out or arguments.model / "confusions.png"
    draw_confusions(model, sources.pictures, path)
    log.info("wrote %s, %.0f KB", path, path.stat().st_size / 1024)
    return 0


def _jobs(arguments: argparse.Namespace, model: EvaluatedModel, sources: Sources) -> Iterator[Job]:
    """Of one suite, or of all."""
    is_table, wanted = arguments.suite == "table", arguments.suite
    tasks = getattr(arguments, "task", None)
    if is_table:
        yield from _retrieval(model, sources)
    if is_table or wanted == "zero-shot":
        yield from _zero_shot(model, sources)
    if is_table or wanted == "probe":
        yield from _probe(model, sources, tasks or TASKS, arguments.jobs)
    if is_table or wanted == "itm":
        yield from _matching(model, sources)
    if is_table or wanted == "masked":
        yield from _masked(model, sources, arguments.codebook)
    if is_table or wanted == "finetune":
        yield from _finetune(model, sources, load_config(FinetuneConfig, arguments.finetune), tasks)


def _retrieval(model: EvaluatedModel, sources: Sources) -> Iterator[Job]:
    yield "retrieval", lambda: retrieval_scores(model, sources.pictures)
    yield "keywords", lambda: [keyword_score(model, sources.pictures, cldr_keywords(sources.cache))]


def _zero_shot(model: EvaluatedModel, sources: Sources) -> Iterator[Job]:
    for label in EMOJI_LABELS:
        yield (
            f"zero-shot {label}",
            lambda label=label: [zero_shot_score(model, zero_shot_emoji(label, sources.pictures))],
        )
    for name in ("digits 8x8", "MNIST"):
        yield f"zero-shot {name}", lambda name=name: [zero_shot_score(model, zero_shot_digits(sources.task(name)))]


def _probe(model: EvaluatedModel, sources: Sources, names: Sequence[str], jobs: int | None) -> Iterator[Job]:
    """Each task's features, then all fits beside each other."""
    prepared: list[Prepared] = []

    def represent(name: str) -> list[Score]:
        task = sources.task(name)
        if task.representation == "multimodal_cls":
            model.require_heads(*FUSION_HEADS)
        prepared.append(prepare(model, task))
        return []

    def fit() -> list[Score]:
        done = probe_scores(prepared, model.encoder.name, jobs) if prepared else ()
        return sorted(done, key=lambda score: list(names).index(score.task))

    for name in names:
        yield f"probe {name}", lambda name=name: represent(name)
    yield "probes", fit


def _matching(model: EvaluatedModel, sources: Sources) -> Iterator[Job]:
    def match(negatives: Negatives) -> list[Score]:
        about = f"a picture in a held-out style with its own or another name ({negatives})"
        return [matching_score(model, of(sources.pictures, "test-style", "train"), negatives, about)]

    for negatives in NEGATIVES:
        yield f"ITM, {negatives}", lambda negatives=negatives: match(negatives)


def _masked(model: EvaluatedModel, sources: Sources, codebook: Path | None) -> Iterator[Job]:
    yield "MLM", lambda: [mlm_score(model, sources.data)]
    yield "MMM-text", lambda: [mmm_text_score(model, sources.pictures)]
    patches = MaskedPatches(model, sources, codebook)
    yield "MIM", lambda: [patches.mim_score()]
    yield "MMM-image", lambda: [patches.mmm_image_score()]


def _finetune(
    model: EvaluatedModel, sources: Sources, config: FinetuneConfig, names: Sequence[str] | None
) -> Iterator[Job]:
    def tune(name: str) -> list[Score]:
        task, checkpoint = sources.task(name), model.folder
        log.info("fine-tuning for %s", name)
        work = sources.work / "finetune" / name.replace(" ", "-")
        return [
            finetune_score(checkpoint, task, config.hyperparameters_of(name), config.seed, work, log_metrics(log.info))
        ]

    for name in names or config.tasks:
        yield f"fine-tuned {name}", lambda name=name: tune(name)


def _sources(arguments: argparse.Namespace) -> Sources:
    return Sources(arguments.data, arguments.labelled, arguments.data.parent / "cache", arguments.work)


def _command(arguments: argparse.Namespace) -> str:
    flags = [flag for flag in ("save", "json") if getattr(arguments, flag, False)]
    words = ["npm run eval --", arguments.suite, "--engine", arguments.engine, *(f"--{flag}" for flag in flags)]
    return " ".join([*words, "--model", str(arguments.model)])
