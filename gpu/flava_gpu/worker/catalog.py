"""The base models that this worker brings: folders `<models>/<name>/checkpoint`, and which of their heads are trained.

Reads configs and tensor names only; loading is model_store.py's. Imports no torch.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from flava_gpu.checkpoint_errors import CheckpointError
from flava_gpu.checkpoint_reader import find_weight_files
from flava_gpu.trained_heads import trained_heads

logger = logging.getLogger(__name__)


class PickleRefusedError(CheckpointError):
    """The weights are a pickle and the operator did not allow it."""

    code = "checkpoint_pickle_refused"


@dataclass(frozen=True)
class BaseModel:
    id: str
    folder: Path
    heads: tuple[str, ...]
    weight_bytes: int


class ModelCatalog:
    """What lies in a models folder, read once."""

    def __init__(self, models: Path, *, allow_pickle: bool = False) -> None:
        self.allow_pickle = allow_pickle
        self._models: dict[str, BaseModel] = {}
        for config in sorted(models.glob("*/checkpoint/config.json")):
            folder = config.parent
            name = folder.parent.name
            try:
                self._models[name] = read_base_model(name, folder, allow_pickle=allow_pickle)
            except CheckpointError as error:
                logger.warning("%s is left out: %s", name, error)

    def models(self) -> list[BaseModel]:
        return list(self._models.values())

    def find(self, model_id: str) -> BaseModel | None:
        return self._models.get(model_id)


def read_base_model(name: str, folder: Path, *, allow_pickle: bool) -> BaseModel:
    check_weight_files(folder, allow_pickle=allow_pickle)
    return BaseModel(
        name, folder, trained_heads(folder), sum(path.stat().st_size for path in find_weight_files(folder))
    )


def check_weight_files(folder: Path, *, allow_pickle: bool) -> None:
    """A pickle can run code when it is read; PyTorch's weights-only reader is the second lock, not the first."""
    pickles = [path.name for path in find_weight_files(folder) if path.suffix != ".safetensors"]
    if pickles and not allow_pickle:
        raise PickleRefusedError(f"{folder}: {pickles[0]} is a pickle, which needs --allow-pickle")
