"""One stage's run: its folder `runs/<name>` with resumable checkpoints, curves and, when it fails, a crash report.

A run that was killed goes on where its last checkpoint stands when the same command is given again. Knows nothing of losses
or data: a stage asks which update comes next, takes its step and says what it measured.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from flava_gpu.distributed import Ranks
from flava_gpu.training.checkpoints import (
    Checkpoint,
    read_checkpoint,
    remove_old,
    restore_training,
    restoring,
    training_tensors,
    write_checkpoint,
)
from flava_gpu.training.config import LoggingConfig, OptimizationConfig
from flava_gpu.training.curves import Curves, plot_curves
from flava_gpu.training.ema import Ema
from flava_gpu.training.errors import TrainingError
from flava_gpu.training.sharded import as_placed, gathered

log = logging.getLogger("flava_gpu.training")

CRASH_REPORT = "crash.json"
EMA_FILE = "ema.safetensors"
KEPT_CHECKPOINTS = 2
MAX_ITEMS_NAMED = 512


class TrainingRun:
    """`identity` is JSON that must not change while a run goes on (identity.py)."""

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        optimization: OptimizationConfig,
        logging_config: LoggingConfig,
        ranks: Ranks | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.folder = folder
        self.module = module
        self.optimizer = optimizer
        self.total = optimization.updates
        self.logging = logging_config
        self.ranks = ranks or Ranks()
        self.ema = Ema(module, optimization.ema_decay) if optimization.ema_decay else None
        self.scaler = scaler
        self.identity = identity
        folder.mkdir(parents=True, exist_ok=True)
        self.done, self._earlier_seconds = self._resume()
        self.curves = Curves(folder, self.done) if self.ranks.is_main else None
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time of training, over all its processes one after the other."""
        return self._earlier_seconds + time.monotonic() - self._began

    def updates(self) -> Iterator[int]:
        """Numbers of the updates still to do, from 0; a checkpoint is written after those that are due and the last."""
        with tqdm(total=self.total, initial=self.done, unit="update", disable=not self.ranks.is_main) as progress:
            self._progress = progress
            for update in range(self.done, self.total):
                yield update
                self.done = update + 1
                if self.is_due(update, self.logging.checkpoint_every):
                    self.save()
                progress.update()

    def is_due(self, update: int, every: int) -> bool:
        return (update + 1) % every == 0 or update + 1 == self.total

    @contextmanager
    def reporting(self, update: int, items: Callable[[], list[str]]) -> Iterator[None]:
        """Around one update: an exception leaves a report that names the update and the items of its batch."""
        try:
            yield
        except Exception as error:
            report = {
                "update": update,
                "rank": self.ranks.rank,
                "error": f"{type(error).__name__}: {error}",
                "items": items()[:MAX_ITEMS_NAMED],
                "traceback": traceback.format_exc(),
            }
            path = self.folder / (CRASH_REPORT if self.ranks.is_main else f"rank{self.ranks.rank}-{CRASH_REPORT}")
            path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            log.error("update %d failed: %s; %s names its batch", update, error, path)
            raise

    def mean_losses(self, update: int, losses: dict[str, Tensor]) -> dict[str, float]:
        """Of all ranks, before the step. Raises TrainingError, code `loss_not_finite`, on each of them."""
        told = self.ranks.exchange([loss.item() for loss in losses.values()])
        values = {name: sum(each) / len(each) for name, each in zip(losses, zip(*told, strict=True), strict=True)}
        if not all(math.isfinite(value) for value in values.values()):
            raise TrainingError("loss_not_finite", f"update {update}: a loss is not finite: {values}")
        return values

    def finish_update(self, update: int, losses: dict[str, float], **scalars: float) -> None:
        """After the step: adds its weights to the average, and puts the losses on the curves when they are due."""
        if self.ema is not None:
            self.ema.update(self.module)
        if self.curves is None:
            return
        self._progress.set_postfix({name: f"{value:.2f}" for name, value in losses.items()}, refresh=False)
        self.curves.observe(losses)
        if self.is_due(update, self.logging.curve_every):
            self.curves.flush(update + 1, {**scalars, "seconds": round(self.seconds, 1)})

    def record_metrics(self, update: int, group: str, metrics: dict[str, float]) -> None:
        """Of an evaluation after `update`; `group` names its data."""
        if self.curves is not None:
            self.curves.add({"update": update + 1, group: metrics})
            log.info("\nupdate %d, %s: %s", update + 1, group, "  ".join(f"{k} {v:.2f}" for k, v in metrics.items()))

    def averaged(self) -> Any:
        """The module with its averaged weights inside the block; its own where the run averages none."""
        return nullcontext() if self.ema is None else self.ema.applied_to(self.module)

    def plot(self, path: Path, title: str) -> None:
        if self.curves is not None:
            plot_curves(self.folder, path, title)

    def save(self) -> None:
        """Whole or not at all; older ones go."""
        tensors = training_tensors(self.module, self.optimizer)
        state: dict[str, Any] = {
            "fingerprint": _fingerprint(self.identity),
            "update": self.done,
            "seconds": self.seconds,
        }
        if self.ema is not None:
            tensors[EMA_FILE] = gathered(self.ema.weights)
            state["ema_updates"] = self.ema.updates
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        if not self.ranks.is_main:
            return
        write_checkpoint(self.folder / "checkpoints", self.done, Checkpoint(tensors, state))
        remove_old(self.folder / "checkpoints", KEPT_CHECKPOINTS)

    def _resume(self) -> tuple[int, float]:
        """From the newest checkpoint that can be read; raises TrainingError when none of several can, or they are another run's."""
        folders = sorted((self.folder / "checkpoints").glob("step-*[0-9]"))
        for folder in reversed(folders):
            try:
                state = self._restore(folder)
            except TrainingError as error:
                if error.code == "checkpoint_mismatch":
                    what = "other data, another configuration, vocabulary, codebook or starting point"
                    raise TrainingError(
                        error.code, f"{self.folder}: began with {what}; --fresh begins again"
                    ) from error
                if folder == folders[0]:
                    raise
                log.warning("%s; going back to the one before", error)
            else:
                log.info("resumed at update %d", state["update"])
                return state["update"], state["seconds"]
        return 0, 0.0

    def _restore(self, folder: Path) -> dict[str, Any]:
        checkpoint = read_checkpoint(folder, _fingerprint(self.identity))
        with restoring(folder):
            restore_training(checkpoint, self.module, self.optimizer)
            if self.ema is not None:
                saved = checkpoint.tensors[EMA_FILE]
                self.ema.weights = {name: as_placed(saved[name], own) for name, own in self.ema.weights.items()}
                self.ema.updates = checkpoint.state["ema_updates"]
            if self.scaler is not None:
                self.scaler.load_state_dict(checkpoint.state["scaler"])
        return checkpoint.state


def _fingerprint(identity: dict[str, Any]) -> str:
    return json.dumps(identity, sort_keys=True)


def forget(folder: Path) -> None:
    """`--fresh`: removes an earlier run of the same name."""
    shutil.rmtree(folder, ignore_errors=True)
