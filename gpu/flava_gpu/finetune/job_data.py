"""The data of a training job: where its files are, what a method wants of their rows, and what makes two runs the same."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from flava_gpu.distributed import Ranks
from flava_gpu.finetune.dataset import DatasetLoader, Datasets, Sources, label_counts
from flava_gpu.finetune.model_files import StartingModel
from flava_gpu.finetune.outcome import Reporter
from flava_gpu.finetune.protocol import ProgressEvent, TrainingJob
from flava_gpu.finetune.rows import Target
from flava_gpu.training.errors import TrainingError

REPORT_SECONDS = 2.0


def load_data(job: TrainingJob, start: StartingModel, workdir: Path, ranks: Ranks, reporter: Reporter) -> Datasets:
    """Both data sets, checked to the last row. Raises TrainingError, and StoppedError when asked to stop meanwhile."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        reporter.stop_here_if_asked()
        if time.monotonic() - last > REPORT_SECONDS:
            reporter.tell(ProgressEvent(done, total, "pictures"))
            last = time.monotonic()

    sources = Sources(
        Path(job.training), None if job.validation is None else Path(job.validation), [Path(file) for file in job.media]
    )
    for path in (sources.training, sources.validation, *sources.media):
        if path is not None and not path.is_file():
            raise TrainingError("file_missing", f"{path.name} is not there")
    loader = DatasetLoader(sources, target_of(job), start.image_size, workdir, reporter.warn, report)
    return loader.load(ranks, allows_text_only=job.method == "pretrain")


def target_of(job: TrainingJob) -> Target:
    if job.method in ("contrastive", "pretrain"):
        return "pair"
    return "value" if job.hyperparameters.get("task") == "regression" else "label"


def describe(datasets: Datasets) -> str:
    training, validation = datasets.training, datasets.validation
    words = {"text": "texts", "image": "pictures", "pair": "pictures with text"}[training.inputs]
    parts = [f"{len(training)} {words} to train on"]
    if datasets.texts and training.inputs != "text":
        parts.append(f"{len(datasets.texts)} texts besides")
    parts.append("none to validate on" if validation is None else f"{len(validation)} to validate on")
    if datasets.labels is not None:
        share = max(label_counts(training.rows).values()) / len(training)
        parts.append(f"{len(datasets.labels)} labels, the most frequent one in {share:.0%} of the rows")
    return ", ".join(parts)


def fingerprint_of(job: TrainingJob, datasets: Datasets) -> str:
    """Two runs with the same one take the same steps, so that either may go on from the other's checkpoint."""
    config = (Path(job.base_checkpoint) / "config.json").read_bytes()
    same = [job.base_model, job.method, job.hyperparameters, job.seed, datasets.sha256()]
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode() + config).hexdigest()
