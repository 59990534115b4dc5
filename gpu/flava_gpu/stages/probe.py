"""Probe stage: the model frozen, logistic regression on one of its tensors, scored on a task's test split.

    npm run train -- probe --config gpu/configs/emoji/probe.yaml

The protocol is that of CLIP and FLAVA (evaluation/probe.py). Each task leaves a head that flava_gpu.finetune reads beside the
checkpoint, and its scores, in `runs/<name>/<task>/`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from flava_gpu.data_checks import warn_of_rare_classes
from flava_gpu.evaluation.floors import task_floors
from flava_gpu.evaluation.probe import Fitted, prepare, probe
from flava_gpu.evaluation.report import Report, format_markdown, origin_of, write_report
from flava_gpu.evaluation.scores import Outcome, Score
from flava_gpu.evaluation.sources import EngineName, Sources, open_model
from flava_gpu.evaluation.suites import classified
from flava_gpu.evaluation.tasks import Representation, Task
from flava_gpu.finetune.head import Head, HeadSpec, save_head
from flava_gpu.finetune.rows import Inputs
from flava_gpu.training.command import stage_run
from flava_gpu.training.config import as_plain

log = logging.getLogger("flava_gpu.stages.probe")

INPUTS: dict[Representation, Inputs] = {"text_cls": "text", "image_cls": "image", "multimodal_cls": "pair"}


@dataclass(frozen=True)
class ProbeConfig:
    name: str
    engine: EngineName
    """`edge` gives the quantized package's features, `torch` the checkpoint's in fp32."""
    package: Path
    checkpoint: Path
    data: Path
    labelled: Path
    tasks: tuple[str, ...]
    """Names in flava_gpu.evaluation.sources.TASKS."""
    threads: int | None = None


def main(argv: list[str] | None = None) -> None:
    # Config
    config, folder = stage_run(ProbeConfig, __doc__, argv)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    sources = Sources(config.data, config.labelled, config.data.parent / "cache", folder / "pictures")

    # Model
    model = open_model(config.engine, config.package, config.checkpoint)

    scores: list[Score] = []
    for name in config.tasks:
        # Data
        prepared = prepare(model, sources.task(name))
        task, folds = prepared.task, prepared.folds
        for fold in folds:
            warn_of_rare_classes([task.labels[target] for target in fold.train.targets], f"{name}, training items")

        # Sweep and fit, each fold its own
        probed = [probe(*features, fold) for features, fold in zip(prepared.features, prepared.folds, strict=True)]
        for one in probed:
            log.info("%s: l2 %.3g, validation accuracy %.1f %%", name, one.l2, 100 * one.validation_accuracy)

        # Evaluate
        outcome = Outcome.of_folds(folds, [one.predicted for one in probed], {"l2": [one.l2 for one in probed]})
        score = classified(task, "linear probe", config.engine, outcome, task_floors(task, folds))
        scores.append(score)

        # Save
        work = folder / name.replace(" ", "-")
        work.mkdir(parents=True, exist_ok=True)
        save_probe(work, task, probed[-1].fitted, model.max_text_length)
        (work / "score.json").write_text(json.dumps(score.to_json(), indent=2) + "\n", encoding="utf-8")

    origin = origin_of(f"npm run train -- probe ({config.name})", as_plain(config), sources.data_hash)
    report = Report(f"{config.name}: linear probes", scores, (), origin)
    write_report(report, folder, "scores")
    print(format_markdown(report))


def save_probe(folder: Path, task: Task, fitted: Fitted, max_length: int) -> None:
    """A linear head; the centring that fitting works on goes into its bias."""
    weight = torch.from_numpy(fitted.classifier.coef_).double()  # [classes, width], or [1, width] for two classes
    bias = torch.from_numpy(fitted.classifier.intercept_).double()
    if len(fitted.classes) == 2:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    bias = bias - weight @ torch.from_numpy(fitted.mean[0]).double()
    labels = [task.labels[label] for label in fitted.classes]
    spec = HeadSpec("classification", INPUTS[task.representation], labels, weight.shape[1], None, max_length)
    head = Head.of(spec)
    with torch.no_grad():
        head.out.weight.copy_(weight)
        head.out.bias.copy_(bias)
    save_head(folder, spec, head)


if __name__ == "__main__":
    main()
