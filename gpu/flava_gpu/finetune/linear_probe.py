"""A linear probe: the model frozen, multinomial logistic regression on its token 0, the l2 strength chosen on a split.

The protocol is CLIP's, which FLAVA's paper follows (supplement; L-BFGS, at most 1000 iterations): a coarse grid over 1e-6 to 1e6, then finer ones around
the best down to eight steps a decade, then a fit on all training rows.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from flava_gpu.finetune.batches import Batcher, class_targets, count_tokens
from flava_gpu.finetune.dataset import Datasets
from flava_gpu.finetune.head import Head, HeadSpec, head_states
from flava_gpu.finetune.history import History
from flava_gpu.finetune.model_files import StartingModel
from flava_gpu.finetune.outcome import Reporter, keep_checkpoint, save_outcome
from flava_gpu.finetune.plan import chosen
from flava_gpu.finetune.protocol import LogEvent, MetricsEvent, ProgressEvent, StoppedEvent, TrainingJob
from flava_gpu.finetune.supervised import EVALUATION_BATCH, classification_metrics
from flava_gpu.l2_sweep import FITS, MAX_ITERATIONS, sweep_l2
from flava_gpu.sampling import stream_seed
from flava_gpu.training.checkpoints import Checkpoint, read_checkpoint, restoring
from flava_gpu.training.errors import StoppedError

FEATURES_FILE = "features.safetensors"
HELD_OUT = 0.2
CHECKPOINT_SECONDS = 180.0
PROGRESS_SECONDS = 1.0


def fit_probe(
    job: TrainingJob,
    start: StartingModel,
    datasets: Datasets,
    max_length: int,
    fingerprint: str,
    workdir: Path,
    reporter: Reporter,
) -> None:
    """Features of all rows, the sweep, the fit, and the same files as a supervised run leaves."""
    assert datasets.labels is not None
    training, validation, labels = datasets.training, datasets.validation, datasets.labels
    features, counts = all_features(job, start, datasets, max_length, fingerprint, workdir, reporter)
    targets = class_targets(training, labels)
    train_features = features[: len(training)].double()

    l2: float | None = chosen(job.hyperparameters, "l2")
    history = History([])
    if l2 is None:
        fitted, held = stratified_split(targets, HELD_OUT, job.seed)
        l2, accuracy = sweep(train_features, targets, fitted, held, len(labels), reporter)
        reporter.tell(MetricsEvent(0, history.add(0, {"l2": l2, "held_out_accuracy": accuracy})))
    weight, bias = fit(train_features, targets, len(labels), l2)
    metrics = {"l2": l2}
    metrics |= prefixed("train", classification_metrics(train_features @ weight.T + bias, targets))
    if validation is not None:
        outputs = features[len(training) :].double() @ weight.T + bias
        metrics |= prefixed("valid", classification_metrics(outputs, class_targets(validation, labels)))
    reporter.tell(MetricsEvent(1, history.add(1, metrics)))

    spec = HeadSpec("classification", training.inputs, labels, features.shape[1], None, max_length)
    head = Head.of(spec)
    with torch.no_grad():
        head.out.weight.copy_(weight)
        head.out.bias.copy_(bias)
    save_outcome(job, start, datasets, (spec, head), [], {"l2": l2}, counts, history, workdir, reporter)


def all_features(
    job: TrainingJob,
    start: StartingModel,
    datasets: Datasets,
    max_length: int,
    fingerprint: str,
    workdir: Path,
    reporter: Reporter,
) -> tuple[Tensor, dict[str, int]]:
    """f32 [training rows + validation rows, hidden_size]; kept in checkpoints, by which a later process goes on."""
    batchers = [
        Batcher(dataset, None, start.tokenizer, max_length, job.seed, job.device)
        for dataset in (datasets.training, datasets.validation)
        if dataset is not None
    ]
    total = sum(len(batcher.dataset) for batcher in batchers)
    parts, done, counts = [], 0, {"tokens": 0, "images": 0}
    if job.resume is not None:
        checkpoint = read_checkpoint(Path(job.resume.folder), fingerprint)
        with restoring(Path(job.resume.folder)):
            parts = [checkpoint.tensors[FEATURES_FILE]["features"]]
            done, counts = checkpoint.state["step"], checkpoint.state["counts"]
        reporter.tell(LogEvent(f"resumed at row {done} of {total}"))
    began = last_checkpoint = last_progress = time.monotonic()
    first_row, model = done, start.model.eval()
    while done < total:
        batcher, position = (
            (batchers[0], done) if done < len(datasets.training) else (batchers[-1], done - len(datasets.training))
        )
        batch = batcher.draw(range(position, min(position + EVALUATION_BATCH, len(batcher.dataset))), 0)
        with torch.no_grad():
            states = head_states(model, batcher.dataset.inputs, batch.pixel_values, batch.text).cpu()
        parts.append(states)
        done += len(states)
        counts["tokens"] += count_tokens(batch)
        counts["images"] += 0 if batch.pixel_values is None else len(states)
        now = time.monotonic()
        if now - last_progress > PROGRESS_SECONDS:
            seconds_left = (now - began) / (done - first_row) * (total - done)
            reporter.tell(ProgressEvent(done, total, "rows", round(seconds_left, 1)))
            last_progress = now
        should_stop = reporter.is_stopping
        if should_stop or now - last_checkpoint > CHECKPOINT_SECONDS:
            parts = [torch.cat(parts)]
            state = {"step": done, "counts": counts, "fingerprint": fingerprint}
            checkpoint = Checkpoint({FEATURES_FILE: {"features": parts[0]}}, state)
            keep_checkpoint(workdir, checkpoint, {}, reporter, must=should_stop, kept=None)
            last_checkpoint = now
        if should_stop:
            reporter.tell(StoppedEvent(done))
            raise StoppedError
    return torch.cat(parts), counts


def sweep(
    features: Tensor, targets: Tensor, fitted: Tensor, held: Tensor, classes: int, reporter: Reporter
) -> tuple[float, float]:
    """The l2 with the best held-out accuracy, the smaller cross entropy deciding between equals; and that accuracy."""
    accuracies: dict[float, float] = {}

    def score(l2: float) -> tuple[float, float]:
        reporter.stop_here_if_asked()
        weight, bias = fit(features[fitted], targets[fitted], classes, l2)
        metrics = classification_metrics(features[held] @ weight.T + bias, targets[held])
        accuracies[l2] = metrics["accuracy"]
        reporter.tell(ProgressEvent(len(accuracies), FITS, "fits"))
        return metrics["accuracy"], -metrics["loss"]

    best = sweep_l2(score)
    return best, accuracies[best]


def fit(features: Tensor, targets: Tensor, classes: int, l2: float) -> tuple[Tensor, Tensor]:
    """Minimizes the summed cross entropy + l2/2 |weight|², as scikit-learn with C = 1/l2; f64 [classes, hidden], [classes].

    Works on centred features, which the bias undoes: the same minimum, better conditioned.
    """
    mean = features.mean(dim=0)
    centred = features - mean
    weight = torch.zeros(classes, features.shape[1], dtype=features.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=features.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=1e-7,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(centred @ weight.T + bias, targets) + l2 / (2 * len(features)) * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    return weight.detach(), bias.detach() - weight.detach() @ mean


def stratified_split(targets: Tensor, held_share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Positions to fit on and positions held out: of each class its share, and of a class with one row none."""
    rng = random.Random(stream_seed(seed, "probe split"))
    fitted: list[int] = []
    held: list[int] = []
    for label in range(int(targets.max()) + 1):
        rows = (targets == label).nonzero()[:, 0].tolist()
        rng.shuffle(rows)
        count = 0 if len(rows) < 2 else max(1, round(held_share * len(rows)))
        held += rows[:count]
        fitted += rows[count:]
    if not held:  # every class has one row: choose on the rows themselves
        held = fitted
    return torch.tensor(sorted(fitted)), torch.tensor(sorted(held))


def prefixed(name: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{name}_{key}": value for key, value in metrics.items()}
