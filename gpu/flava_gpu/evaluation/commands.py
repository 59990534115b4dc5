"""What the command line's suites do: read what is there, score it, print and write the tables."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flava_gpu.evaluation.confusions import draw_confusions
from flava_gpu.evaluation.emoji import of
from flava_gpu.evaluation.emoji_retrieval import SPLITS_OF_FLAG, name_task
from flava_gpu.evaluation.errors import DataMissingError, HeadMissingError
from flava_gpu.evaluation.finetuned import log_metrics
from flava_gpu.evaluation.keywords import cldr_keywords
from flava_gpu.evaluation.masked_suite import find_codebook, masked_patch_scores, masked_word_scores, patch_heads
from flava_gpu.evaluation.matching import matching_score
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.probe import prepare
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
from flava_gpu.evaluation.tasks import Task
from flava_gpu.evaluation.zero_shot import zero_shot_score
from flava_gpu.evaluation.zero_shot_tasks import zero_shot_digits, zero_shot_emoji
from flava_gpu.stages.finetune import FinetuneConfig
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


@dataclass
class Collected:
    scores: list[Score]
    skipped: list[str]

    def add(self, name: str, make: Callable[[], Sequence[Score]]) -> None:
        """What cannot be run for want of data or a head is told, and the others go on."""
        try:
            self.scores.extend(make())
        except (DataMissingError, HeadMissingError) as error:
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
    sources = _sources(arguments)
    model = open_model(arguments.engine, arguments.model, arguments.checkpoint)
    collected = Collected([], [])
    wanted = [name for name in SUITES if name != "table"] if arguments.suite == "table" else [arguments.suite]
    if arguments.suite == "table":
        collected.add("retrieval", lambda: retrieval_scores(model, sources.pictures))
        collected.add("keywords", lambda: [keyword_score(model, sources.pictures, cldr_keywords(sources.cache))])
    if "zero-shot" in wanted:
        _zero_shot(collected, model, sources)
    if "probe" in wanted:
        _probe(collected, model, sources, getattr(arguments, "task", None) or TASKS, arguments.jobs)
    if "itm" in wanted:
        _matching(collected, model, sources)
    if "masked" in wanted:
        _masked(collected, model, sources, arguments.codebook)
    if "finetune" in wanted:
        _finetune(collected, model, sources, arguments)
    origin = origin_of(_command(arguments), package_identity(arguments.model), sources.data_hash)
    report = Report(f"{arguments.model.name}: {SUITES[arguments.suite]}", collected.scores, collected.skipped, origin)
    print(format_markdown(report))
    for path in write_report(report, arguments.out or sources.work, arguments.suite):
        log.info("wrote %s", path)
    return 0 if collected.scores else 1


def targets(arguments: argparse.Namespace) -> int:
    sources = _sources(arguments)
    model = open_model(arguments.engine, arguments.model, arguments.checkpoint)
    collected = Collected([], [])
    collected.add("retrieval", lambda: retrieval_scores(model, sources.pictures))
    collected.add("keywords", lambda: [keyword_score(model, sources.pictures, cldr_keywords(sources.cache))])
    _probe(collected, model, sources, ("emoji group", "emoji subgroup"), arguments.jobs)
    _matching(collected, model, sources)
    assert model.checkpoint is not None  # matching has asked it
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


def _zero_shot(collected: Collected, model: EvaluatedModel, sources: Sources) -> None:
    for label in ("group", "subgroup"):
        collected.add(
            f"zero-shot {label}", lambda label=label: [zero_shot_score(model, zero_shot_emoji(label, sources.pictures))]
        )
    for name in ("digits 8x8", "MNIST"):
        collected.add(
            f"zero-shot {name}", lambda name=name: [zero_shot_score(model, zero_shot_digits(sources.task(name)))]
        )


def _probe(
    collected: Collected, model: EvaluatedModel, sources: Sources, names: Sequence[str], jobs: int | None
) -> None:
    prepared = []
    for name in names:

        def make(name: str = name) -> list[Score]:
            task = sources.task(name)
            if task.representation == "multimodal_cls":
                model.require("flava.multimodal_model.")
            prepared.append(prepare(model, task))
            return []

        collected.add(f"probe {name}", make)
    if prepared:
        done = list(probe_scores(prepared, model.encoder.name, jobs))
        collected.scores.extend(sorted(done, key=lambda score: list(names).index(score.task)))


def _matching(collected: Collected, model: EvaluatedModel, sources: Sources) -> None:
    shown = of(sources.pictures, "test-style", "train")
    for negatives in ("random", "same subgroup"):
        about = f"a picture in a held-out style with its own or another name ({negatives})"
        collected.add(f"ITM, {negatives}", lambda n=negatives, about=about: [matching_score(model, shown, n, about)])


def _masked(collected: Collected, model: EvaluatedModel, sources: Sources, codebook: Path | None) -> None:
    collected.add("masked words", lambda: masked_word_scores(model, sources.data, sources.pictures))

    def patches() -> list[Score]:
        if model.checkpoint is None:
            raise HeadMissingError("masked patches need the checkpoint")
        heads = patch_heads(model.checkpoint)
        return masked_patch_scores(model, sources.pictures, find_codebook(model.checkpoint, codebook), heads)

    collected.add("masked patches", patches)


def _finetune(collected: Collected, model: EvaluatedModel, sources: Sources, arguments: argparse.Namespace) -> None:
    config = load_config(FinetuneConfig, arguments.finetune)
    names = getattr(arguments, "task", None) or config.tasks

    def make(name: str) -> list[Score]:
        task: Task = sources.task(name)
        model.require("flava.text_model.", "flava.image_model.")
        assert model.checkpoint is not None
        log.info("fine-tuning for %s", name)
        work = sources.work / "finetune" / name.replace(" ", "-")
        tell = log_metrics(log.info)
        return [finetune_score(model.checkpoint, task, config.hyperparameters_of(name), config.seed, work, tell)]

    for name in names:
        collected.add(f"fine-tuned {name}", lambda name=name: make(name))


def _sources(arguments: argparse.Namespace) -> Sources:
    return Sources(arguments.data, arguments.labelled, arguments.data.parent / "cache", arguments.work)


def _command(arguments: argparse.Namespace) -> str:
    flags = [flag for flag in ("save", "json") if getattr(arguments, flag, False)]
    words = ["npm run eval --", arguments.suite, "--engine", arguments.engine, *(f"--{flag}" for flag in flags)]
    return " ".join([*words, "--model", str(arguments.model)])
