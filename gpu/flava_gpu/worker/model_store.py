"""Models kept loaded: base models of the models folder and fine-tuned ones out of a job's objects, within a memory budget.

The one used longest ago goes first. Knows how to find and keep, not how to compute: the loader is given. Imports no torch.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from flava_gpu.checkpoint_errors import CheckpointError
from flava_gpu.trained_heads import trained_heads
from flava_gpu.worker.catalog import ModelCatalog, check_weight_files
from flava_gpu.worker.job import JobError
from flava_gpu.worker.messages import JobObject, ModelRef

logger = logging.getLogger(__name__)

MODEL_PREFIX = "model/"


class Loaded(Protocol):
    @property
    def bytes(self) -> int: ...


Model = TypeVar("Model", bound=Loaded)
Load = Callable[[Path, Sequence[str]], Model]
"""From a checkpoint folder and its trained heads."""
Fetch = Callable[[JobObject, Path], None]


class ModelStore(Generic[Model]):
    """Safe to use from several threads; one model is loaded at a time."""

    def __init__(self, catalog: ModelCatalog, load: Load[Model], budget_bytes: int, cache: Path) -> None:
        self._catalog = catalog
        self._load = load
        self._budget_bytes = budget_bytes
        self._cache = cache
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Model] = OrderedDict()
        self._read: Counter[str] = Counter()

    def loaded_ids(self) -> frozenset[str]:
        """Base models that are in memory."""
        return frozenset(key for key in list(self._loaded) if self._catalog.find(key) is not None)

    def get(self, model: ModelRef, fetch: Fetch) -> Model:
        """Raises JobError for a model that cannot be had; `fetch` brings the objects of a fine-tuned one."""
        key = key_of(model)
        with self._lock:
            if key not in self._loaded:
                folder, heads = self.locate(model, fetch)
                logger.info("loading %s", model.id)
                try:
                    self._loaded[key] = self._load(folder, heads)
                except (CheckpointError, ValueError, OSError) as error:
                    raise checkpoint_error(model, error) from error
            self._loaded.move_to_end(key)
            self._make_room(key)
            return self._loaded[key]

    def locate(self, model: ModelRef, fetch: Fetch) -> tuple[Path, tuple[str, ...]]:
        """The checkpoint folder and its trained heads, downloaded first where it is a job's."""
        if model.is_base:
            base = self._catalog.find(model.id)
            if base is None:
                raise JobError("model_unavailable", f"this worker has no model {model.id}", retryable=True)
            return base.folder, base.heads
        folder = self._cache / key_of(model)
        for item in model.objects:
            path = folder / item.name.removeprefix(MODEL_PREFIX)
            if not path.is_file():
                fetch(item, path)
        try:
            check_weight_files(folder, allow_pickle=self._catalog.allow_pickle)
            return folder, trained_heads(folder)
        except CheckpointError as error:
            raise checkpoint_error(model, error) from error

    @contextmanager
    def kept_files(self, model: ModelRef) -> Iterator[None]:
        """While another process reads what `locate` finds. Afterwards a fine-tuned model's files go unless it is loaded."""
        key = key_of(model)
        with self._lock:
            self._read[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._read[key] -= 1
                if not model.is_base and key not in self._loaded:
                    self._remove_files(key)

    def _remove_files(self, key: str) -> None:
        if self._read[key] == 0:
            shutil.rmtree(self._cache / key, ignore_errors=True)

    def _make_room(self, kept: str) -> None:
        while len(self._loaded) > 1 and sum(model.bytes for model in self._loaded.values()) > self._budget_bytes:
            oldest = next(iter(self._loaded))
            if oldest == kept:
                return
            logger.info("unloading %s", oldest)
            del self._loaded[oldest]
            self._remove_files(oldest)


def key_of(model: ModelRef) -> str:
    """A base model's id; of a fine-tuned one the hash of what it consists of, which is a folder's name as well."""
    if model.is_base:
        return model.id
    lines = sorted(f"{item.name} {item.sha256}\n" for item in model.objects)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def checkpoint_error(model: ModelRef, error: Exception) -> JobError:
    code = error.code if isinstance(error, CheckpointError) else "checkpoint_error"
    # The folder's path is this machine's business.
    return JobError(code, f"{model.id}: its checkpoint cannot be used ({type(error).__name__})")
