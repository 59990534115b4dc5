"""What a run tells and leaves: events, checkpoints, and at its end the model's folder and the results."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flava_gpu.checkpoint import versions
from flava_gpu.finetune.dataset import Datasets
from flava_gpu.finetune.head import Head, HeadSpec, save_head
from flava_gpu.finetune.history import History
from flava_gpu.finetune.model_files import StartingModel, save_model
from flava_gpu.finetune.protocol import CheckpointEvent, DoneEvent, LogEvent, StoppedEvent, TrainingEvent, TrainingJob
from flava_gpu.trained_heads import heads_after
from flava_gpu.training.checkpoints import Checkpoint, remove_old, write_checkpoint
from flava_gpu.training.errors import StoppedError

CHECKPOINTS, MODEL, RESULTS = "checkpoints", "model", "results"
METRICS_FILE = "metrics.csv"
NOT_RESULTS = ("learning_rate", "grad_norm")


class Reporter:
    """Passes events on, and knows whether the run was asked to stop. Only the main rank's is heard."""

    def __init__(self, tell: Callable[[TrainingEvent], None], stop_requested: Callable[[], bool]) -> None:
        self.tell = tell
        self._stop_requested = stop_requested

    @property
    def is_stopping(self) -> bool:
        return self._stop_requested()

    def warn(self, message: str) -> None:
        self.tell(LogEvent(message, "warn"))

    def stop_here_if_asked(self) -> None:
        """Before there is anything to keep."""
        if self.is_stopping:
            self.tell(StoppedEvent(None))
            raise StoppedError


def keep_checkpoint(
    workdir: Path,
    checkpoint: Checkpoint,
    metrics: dict[str, float],
    reporter: Reporter,
    *,
    must: bool,
    kept: int | None,
) -> None:
    """Writes and announces it. A full disk costs the checkpoint and a warning, unless the run is about to stop (`must`).

    `kept`: how many to leave in `workdir`; None where their reader deletes them, as the worker does.
    """
    step = checkpoint.state["step"]
    try:
        folder = write_checkpoint(workdir / CHECKPOINTS, step, checkpoint)
    except OSError as error:
        if must or error.errno != errno.ENOSPC:
            raise
        reporter.warn(f"step {step}: no room on the disk for a checkpoint; training goes on without")
        return
    relative = folder.relative_to(workdir).as_posix()
    reporter.tell(CheckpointEvent(step, relative, sorted(file.name for file in folder.iterdir()), dict(metrics)))
    if kept is not None:
        remove_old(workdir / CHECKPOINTS, kept)


def save_outcome(
    job: TrainingJob,
    start: StartingModel,
    datasets: Datasets,
    head: tuple[HeadSpec, Head] | None,
    trained_names: list[str],
    hyperparameters: dict[str, Any],
    counts: dict[str, int],
    history: History,
    workdir: Path,
    reporter: Reporter,
) -> None:
    """The model's folder and the results, then the event that announces them."""
    heads = heads_after(job.base_heads, heads_of_method(job, datasets, head), trained_names)
    metrics = {name: value for name, value in history.latest.items() if name not in NOT_RESULTS}
    record = {
        "job": job.job,
        "base_model": job.base_model,
        "method": job.method,
        "requested": job.hyperparameters,
        "hyperparameters": hyperparameters,
        "seed": job.seed,
        "versions": versions(),
        "data": {
            "sha256": datasets.sha256(),
            "inputs": datasets.training.inputs,
            "training_rows": len(datasets.training),
            "validation_rows": 0 if datasets.validation is None else len(datasets.validation),
            "texts": len(datasets.texts),
        },
        "heads": heads,
        "labels": datasets.labels,
        "metrics": metrics,
        "trained_tokens": counts["tokens"],
        "trained_images": counts["images"],
    }
    model = fresh_folder(workdir / MODEL)
    if head is not None:
        save_head(model, *head)
    save_model(model, start, Path(job.base_checkpoint), record)
    results = fresh_folder(workdir / RESULTS)
    history.write_csv(results / METRICS_FILE)
    reporter.tell(
        DoneEvent(
            model_folder=MODEL,
            model_files=sorted(file.name for file in model.iterdir()),
            heads=heads,
            labels=datasets.labels,
            metrics=metrics,
            trained_tokens=counts["tokens"],
            trained_images=counts["images"],
            results_folder=RESULTS,
            result_files=[METRICS_FILE],
        )
    )


def heads_of_method(job: TrainingJob, datasets: Datasets, head: tuple[HeadSpec, Head] | None) -> list[str]:
    """What the run has trained, in the words of the worker contract."""
    if head is not None:
        return [head[0].task]
    if job.method == "contrastive":
        return ["contrastive"]
    return ["mlm"] if datasets.training.inputs == "text" else ["contrastive", "itm", "mmm_text", "mlm"]


def fresh_folder(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
