"""Fine-tuned classification of texts, pictures and pairs: flava_gpu.finetune's supervised method, scored on a test split.

The paper tunes the whole encoder that sees the inputs, with a head on its token 0. Training is finetune/run.py's, the same that
fine-tuning jobs run; here are its data files and what the tuned model answers to the test items.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from flava_gpu.distributed import Ranks
from flava_gpu.evaluation.encoders import TorchEncoder
from flava_gpu.evaluation.model import EvaluatedModel, load_checkpoint
from flava_gpu.evaluation.scores import Outcome
from flava_gpu.evaluation.tasks import Examples, Splits, Task
from flava_gpu.finetune.head import load_head
from flava_gpu.finetune.outcome import MODEL, Reporter
from flava_gpu.finetune.protocol import MetricsEvent, TrainingEvent, TrainingJob
from flava_gpu.finetune.run import run

Tell = Callable[[TrainingEvent], None]


def finetune_task(
    checkpoint: Path, task: Task, hyperparameters: Mapping[str, Any], seed: int, work: Path, tell: Tell
) -> Outcome:
    """Test predictions of all folds, each of a model of its own; `work` keeps the last one's model and metrics."""
    folds = task.checked_splits()
    predicted = []
    for fold in folds:
        shutil.rmtree(work, ignore_errors=True)
        job = make_job(checkpoint, task, fold, hyperparameters, seed, work)
        run(job, work, Ranks(), Reporter(tell, lambda: False), kept_checkpoints=1)
        predicted.append(predict_test(work / MODEL, task, fold.test))
    return Outcome.of_folds(folds, predicted, {"hyperparameters": dict(hyperparameters), "seed": seed})


def make_job(
    checkpoint: Path, task: Task, fold: Splits, hyperparameters: Mapping[str, Any], seed: int, work: Path
) -> TrainingJob:
    work.mkdir(parents=True, exist_ok=True)
    return TrainingJob(
        job=f"evaluation-{task.name.replace(' ', '-')}",
        base_checkpoint=str(checkpoint),
        base_model=checkpoint.name,
        method="supervised",
        hyperparameters=dict(hyperparameters),
        seed=seed,
        training=str(write_rows(work / "training.jsonl", task, fold.train)),
        validation=str(write_rows(work / "validation.jsonl", task, fold.validation)),
        media=[],
        resume=None,
        device="cpu",
    )


def write_rows(path: Path, task: Task, examples: Examples) -> Path:
    """Rows as fine-tuning jobs have them; pictures inline, since these are small."""
    with path.open("w", encoding="utf-8") as file:
        for index, target in enumerate(examples.targets.tolist()):
            row: dict[str, str] = {"label": task.labels[target]}
            if examples.texts is not None:
                row["text"] = examples.texts[index]
            if examples.images is not None:
                content = base64.b64encode(examples.images[index].read_bytes()).decode()
                row["image"] = f"data:image/png;base64,{content}"
            file.write(json.dumps(row) + "\n")
    return path


@torch.no_grad()
def predict_test(folder: Path, task: Task, examples: Examples) -> Any:
    """Class ids int64 [items] of the tuned model, in PyTorch: its weights are not quantized."""
    spec, head = load_head(folder)
    flava, tokenizer = load_checkpoint(folder)
    model = EvaluatedModel(TorchEncoder(flava, tokenizer, spec.max_text_length), folder)
    states = torch.from_numpy(model.represent(examples, task.representation))
    ids = torch.tensor([task.labels.index(label) for label in spec.labels or []])
    return ids[head(states).argmax(dim=1)].numpy()


def log_metrics(say: Callable[[str], None]) -> Tell:
    """A line for each report of the run."""

    def tell(event: TrainingEvent) -> None:
        if isinstance(event, MetricsEvent):
            say(f"step {event.step}: " + "  ".join(f"{name} {value:.4g}" for name, value in event.values.items()))

    return tell
