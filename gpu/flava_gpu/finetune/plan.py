"""What `auto` comes to: hyperparameters, by the size of the data and of the model. docs/fine-tuning.md has the table.

The rates were found with the embedded model (hidden size 192) and FLAVA's and RoBERTa's recipes for hidden size 768.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from flava_gpu.training.errors import TrainingError

METHODS = ("supervised", "contrastive", "linear_probe", "pretrain")

BASE_HIDDEN_SIZE = 768
ENCODER_RATES = {"supervised": 2e-5, "contrastive": 1e-5, "pretrain": 2e-5}
"""Peak learning rates of the encoders at BASE_HIDDEN_SIZE."""
WIDTH_EXPONENT = 1.5
"""Narrower models take larger rates: the embedded one, of width 192, learns planted signals best at 8 to 12 times these."""
HEAD_FACTOR = 10.0
"""What starts from random values learns faster than what is trained already."""
WARMUP_SHARE = 0.06
"""RoBERTa's for GLUE."""
WEIGHT_DECAY = 0.01
GRADIENT_CLIP = 1.0
BETAS = (0.9, 0.98)
ROWS_WANTED = 10_000
"""`auto` epochs show about as many rows, within AUTO_EPOCHS."""
AUTO_EPOCHS = (3, 10)
AUTO_SUPERVISED_BATCH = (16, 32)
"""Below and from ROWS_FOR_LARGER_BATCH on."""
ROWS_FOR_LARGER_BATCH = 2_000
AUTO_CONTRASTIVE_BATCH = 128
LOGS, EVALUATIONS, CHECKPOINTS = 200, 20, 5
"""How often in a run, at most; checkpoints also by the clock."""


@dataclass(frozen=True)
class Plan:
    method: str
    epochs: int
    batch_size: int
    """Over all devices."""
    steps_per_epoch: int
    encoder_rate: float
    head_rate: float
    checkpoint_every: int
    is_checkpoint_exact: bool
    """Asked for, rather than `auto`, which leaves checkpoints out where writing them would take much of the time."""

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @property
    def warmup_steps(self) -> int:
        return max(1, math.ceil(WARMUP_SHARE * self.steps))

    @property
    def log_every(self) -> int:
        return math.ceil(self.steps / LOGS)

    @property
    def evaluate_every(self) -> int:
        return max(self.steps_per_epoch, math.ceil(self.steps / EVALUATIONS))

    def rate_share(self, step: int) -> float:
        """Of the peak rates, before the update that makes `step` done: linear warm-up, then a cosine to zero."""
        warmup = min(1.0, (step + 1) / self.warmup_steps)
        progress = max(0, step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return warmup * 0.5 * (1 + math.cos(math.pi * progress))


def make_plan(
    method: str, hyperparameters: dict[str, Any], rows: int, hidden_size: int, ranks: int
) -> tuple[Plan, list[str]]:
    """The plan, and what of it is not as it was asked for. Raises TrainingError when no batch can be made."""
    if method not in ENCODER_RATES:
        raise TrainingError("invalid_hyperparameters", f"method {method!r}: expected one of {', '.join(METHODS)}")
    notes: list[str] = []
    batch_size = chosen(hyperparameters, "batch_size")
    if batch_size is None:
        batch_size = auto_batch_size(method, rows)
    if batch_size > rows:
        notes.append(f"batch_size {batch_size} is more than there are rows: {rows} is used")
        batch_size = rows
    even = max(1, batch_size // ranks) * ranks
    if even != batch_size:
        notes.append(f"batch_size {batch_size} does not divide among {ranks} devices: {even} is used")
    if even > rows:
        raise TrainingError("too_few_rows", f"training_file: {rows} rows, fewer than devices ({ranks})")
    if method != "supervised" and even < 2:
        raise TrainingError(
            "invalid_hyperparameters", f"{method} compares the rows of a batch: batch_size must be 2 or more"
        )
    epochs = chosen(hyperparameters, "n_epochs")
    if epochs is None:
        epochs = min(max(math.ceil(ROWS_WANTED / rows), AUTO_EPOCHS[0]), AUTO_EPOCHS[1])
    steps_per_epoch = rows // even
    every = chosen(hyperparameters, "checkpoint_every")
    multiplier = chosen(hyperparameters, "learning_rate_multiplier")
    rate = (
        ENCODER_RATES[method]
        * (BASE_HIDDEN_SIZE / hidden_size) ** WIDTH_EXPONENT
        * (1.0 if multiplier is None else multiplier)
    )
    plan = Plan(
        method=method,
        epochs=epochs,
        batch_size=even,
        steps_per_epoch=steps_per_epoch,
        encoder_rate=rate,
        head_rate=rate * HEAD_FACTOR,
        checkpoint_every=every or math.ceil(epochs * steps_per_epoch / CHECKPOINTS),
        is_checkpoint_exact=every is not None,
    )
    return plan, notes


def auto_batch_size(method: str, rows: int) -> int:
    if method == "supervised":
        return AUTO_SUPERVISED_BATCH[rows >= ROWS_FOR_LARGER_BATCH]
    # A batch is the choice each picture has; yet a small set should still make several batches an epoch.
    quarter = max(2, rows // 4)
    return min(AUTO_CONTRASTIVE_BATCH, 2 ** int(math.log2(quarter)))


def chosen(hyperparameters: dict[str, Any], name: str) -> Any:
    """None for `auto`."""
    value = hyperparameters.get(name, "auto")
    return None if value == "auto" else value
