"""What this machine computes on, and the runs of torch behind the lanes: the one place where the worker meets PyTorch.

Importing it imports torch, which takes seconds; cli.py does so once, before the first lease.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from flava_gpu.worker.catalog import ModelCatalog
from flava_gpu.worker.job import JobError, JobResult
from flava_gpu.worker.messages import Device, JobObject, ModelRef
from flava_gpu.worker.model_store import ModelStore
from flava_gpu.worker.tasks.classify import run_classify
from flava_gpu.worker.tasks.embeddings import run_embeddings
from flava_gpu.worker.tasks.fill_mask import run_fill_mask
from flava_gpu.worker.tasks.match import run_match
from flava_gpu.worker.tasks.retrieval import run_retrieval
from flava_gpu.worker.tasks.runtime import FlavaRuntime, Turn
from flava_gpu.worker.tasks.texts import Tokens

MIB = 1 << 20
Task = Callable[[FlavaRuntime, Sequence[dict[str, Any]], Turn], list[JobResult | JobError]]
TASKS: dict[str, Task] = {
    "multimodal.embeddings": run_embeddings,
    "multimodal.match": run_match,
    "multimodal.fill_mask": run_fill_mask,
    "multimodal.classify": run_classify,
}

BATCH_TASKS: dict[str, Task] = {
    "/v1/embeddings": run_retrieval,
    "/v1/multimodal/embeddings": run_embeddings,
    "/v1/multimodal/match": run_match,
    "/v1/multimodal/fill-mask": run_fill_mask,
    "/v1/multimodal/classify": run_classify,
}


def find_device(asked: str) -> Device:
    """`auto` takes CUDA, then MPS, then the CPU. Raises ValueError for a device that is not there."""
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    names: tuple[Device, ...] = ("cuda", "mps", "cpu")
    for name in names:
        if asked in ("auto", name) and has[name]:
            return name
    raise ValueError(f"--device {asked}: there is none on this machine")


def gpu_count(device: Device) -> int:
    return torch.cuda.device_count() if device == "cuda" else 1 if device == "mps" else 0


def memory_mib(device: Device) -> int:
    """Of one GPU, or of the machine, which MPS shares."""
    if device == "cuda":
        return torch.cuda.get_device_properties(0).total_memory // MIB
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB


def warm_up(runtime: FlavaRuntime) -> None:
    """One pass of each encoder: the first one plans kernels, which the first caller should not wait for."""
    tokens = Tokens((0, 0), (0, 0), 2)
    text = runtime.text_states([tokens])[0]
    size = runtime.image_size
    image = runtime.image_states([Image.new("RGB", (size, size))])[0]
    runtime.fuse([(image, text)], lambda states, _: list(states[:, 0]))


class InteractiveRuns:
    """RunTogether on the models of a store, each chunk in its turn on the device."""

    def __init__(self, store: ModelStore[FlavaRuntime], turn: Callable[[], AbstractContextManager[None]]) -> None:
        self._store = store
        self._turn = turn

    def __call__(
        self, kind: str, model: ModelRef, inputs: Sequence[Any], fetch: Callable[[JobObject, Path], None]
    ) -> list[JobResult | JobError]:
        return TASKS[kind](self._store.get(model, fetch), inputs, self._turn)


def set_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def warm_first(store: ModelStore[FlavaRuntime], catalog: ModelCatalog) -> None:
    """Loads and warms up the smallest base model where there is one: most deployments have just one."""
    models = sorted(catalog.models(), key=lambda model: model.weight_bytes)
    if models:
        warm_up(store.get(ModelRef(models[0].id, models[0].id, ()), no_fetch))


def no_fetch(item: JobObject, path: Path) -> None:
    raise AssertionError(f"a base model has no objects, {item.name} was asked for")
