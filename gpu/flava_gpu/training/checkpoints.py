"""Checkpoints of a run: safetensors and JSON in a flat folder, there whole or not at all. Nothing in them is ever unpickled."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flava_gpu.training.errors import TrainingError, crash
from flava_gpu.training.sharded import as_placed, gathered

STATE_FILE = "state.json"
FORMAT = 1
RANDOM_FILE, MODEL_FILE, OPTIMIZER_FILE = "random.safetensors", "model.safetensors", "optimizer.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` by file and name; `state` is JSON."""

    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def write_checkpoint(parent: Path, step: int, checkpoint: Checkpoint) -> Path:
    """A new folder under `parent`. A kill at any moment leaves it whole or not there; raises OSError on a full disk."""
    folder = parent / f"step-{step:07d}"
    partial = parent / f"step-{step:07d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, tensors in checkpoint.tensors.items():
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, partial / name)
        state = {"format": FORMAT, **checkpoint.state}
        (partial / STATE_FILE).write_text(json.dumps(state) + "\n", encoding="utf-8")
        for file in partial.iterdir():
            flush(file)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise
        raise OSError(errno.EIO, f"checkpoint not written: {error}") from error
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    flush(parent)
    return folder


def flush(path: Path) -> None:
    """To the disk, so that the rename cannot outrun the data."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(folder: Path, fingerprint: str) -> Checkpoint:
    """Raises TrainingError when it is damaged, or of a run with other data, another model or other hyperparameters."""
    try:
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        tensors = {path.name: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    except (OSError, ValueError, SafetensorError) as error:
        raise crash("checkpoint_unreadable", f"{folder.name}: {error}") from error
    if state.get("format") != FORMAT:
        raise TrainingError("checkpoint_mismatch", f"{folder.name}: format {state.get('format')}, expected {FORMAT}")
    if state.get("fingerprint") != fingerprint:
        raise TrainingError("checkpoint_mismatch", f"{folder.name}: of a run with other data, model or hyperparameters")
    return Checkpoint(tensors, state)


@contextlib.contextmanager
def restoring(folder: Path) -> Iterator[None]:
    """What lacks a file, a name or a shape that this version would have written is as good as damaged."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise crash("checkpoint_unreadable", f"{folder.name}: {type(error).__name__}") from error


def remove_old(parent: Path, kept: int) -> None:
    for folder in sorted(parent.glob("step-*[0-9]"))[:-kept]:
        shutil.rmtree(folder, ignore_errors=True)


def training_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """What an exact resume needs: what is trained, what the optimizer knows of it, and the random generators.

    Whole on the main rank whether or not FSDP shards them; every rank must ask for it.
    """
    trained = trained_parameters(module)
    moments = {
        f"{key}/{name}": value
        for name, parameter in trained.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    return {MODEL_FILE: gathered(trained), OPTIMIZER_FILE: gathered(moments), RANDOM_FILE: random}


def restore_training(checkpoint: Checkpoint, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The inverse of training_tensors, in place."""
    trained = trained_parameters(module)
    saved = checkpoint.tensors[MODEL_FILE]
    if saved.keys() != trained.keys():
        raise TrainingError("checkpoint_mismatch", "the checkpoint has other parameters than this run trains")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(as_placed(saved[name], parameter))
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in checkpoint.tensors[OPTIMIZER_FILE].items():
        kind, name = key.split("/", 1)
        # AdamW keeps its step counter on the CPU and everything else beside the parameter.
        moments.setdefault(name, {})[kind] = value if kind == "step" else as_placed(value, trained[name])
    for name, state in moments.items():
        optimizer.state[trained[name]] = state
    random = checkpoint.tensors[RANDOM_FILE]
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
