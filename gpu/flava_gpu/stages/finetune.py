"""Fine-tuning stage: the encoder that sees a task's inputs and a head on its token 0, trained together, scored on its test split.

    npm run train -- finetune --config gpu/configs/emoji/finetune.yaml

The training itself is flava_gpu.finetune's supervised method, which fine-tuning jobs run too; each task leaves its model, its
metrics by step and its scores in `runs/<name>/<task>/`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flava_gpu.evaluation.finetuned import finetune_task, log_metrics
from flava_gpu.evaluation.floors import task_floors
from flava_gpu.evaluation.report import Report, format_markdown, origin_of, write_report
from flava_gpu.evaluation.scores import Score
from flava_gpu.evaluation.sources import Sources
from flava_gpu.evaluation.suites import classified
from flava_gpu.training.command import stage_run
from flava_gpu.training.config import as_plain

log = logging.getLogger("flava_gpu.stages.finetune")


@dataclass(frozen=True)
class EpochsConfig:
    task: str
    epochs: int


@dataclass(frozen=True)
class FinetuneConfig:
    name: str
    seed: int
    checkpoint: Path
    data: Path
    labelled: Path
    tasks: tuple[str, ...]
    """Names in flava_gpu.evaluation.sources.TASKS."""
    epochs: tuple[EpochsConfig, ...] = ()
    """Of tasks that need other than the automatic number."""
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    threads: int | None = None
    """None leaves PyTorch its own choice; the two above then come from the data's size and the model's width."""

    def hyperparameters_of(self, task: str) -> dict[str, Any]:
        """As fine-tuning jobs have them; what is not given is `auto`."""
        epochs = next((item.epochs for item in self.epochs if item.task == task), None)
        given = {
            "n_epochs": epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        return {key: value for key, value in given.items() if value is not None}


def main(argv: list[str] | None = None) -> None:
    # Config
    config, folder = stage_run(FinetuneConfig, __doc__, argv)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    sources = Sources(config.data, config.labelled, config.data.parent / "cache", folder / "pictures")

    scores: list[Score] = []
    for name in config.tasks:
        # Data
        task = sources.task(name)
        splits = task.checked_splits()
        sizes = [len(part) for part in (splits[0].train, splits[0].validation, splits[0].test)]
        log.info("%s: %s; %d to train, %d to validate, %d to test", name, task.about, *sizes)

        # Model, optimizer, loop, save: finetune/run.py, to be read from top to bottom as well
        work = folder / name.replace(" ", "-")
        outcome = finetune_task(
            config.checkpoint, task, config.hyperparameters_of(name), config.seed, work, log_metrics(log.info)
        )

        # Evaluate
        score = classified(task, "fine-tuned", "torch", outcome, task_floors(task, splits))
        (work / "score.json").write_text(json.dumps(score.to_json(), indent=2) + "\n", encoding="utf-8")
        scores.append(score)

    origin = origin_of(f"npm run train -- finetune ({config.name})", as_plain(config), sources.data_hash)
    report = Report(f"{config.name}: fine-tuned", scores, (), origin)
    write_report(report, folder, "scores")
    print(format_markdown(report))


if __name__ == "__main__":
    main()
