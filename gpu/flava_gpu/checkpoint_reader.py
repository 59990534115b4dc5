"""Reads a Hugging Face FLAVA checkpoint folder tensor by tensor, under FlavaModel's names.

`model.safetensors`, `model.safetensors.index.json`, `pytorch_model.bin` and `pytorch_model.bin.index.json`, in that order;
FlavaModel's files and FlavaForPreTraining's. Which tensors there must be is flava_tensors.py's to say.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from flava_gpu.checkpoint_errors import CheckpointCorruptError, CheckpointFileMissingError, CheckpointTensorError
from flava_gpu.file_hash import sha256_of_file
from flava_gpu.weight_files import FloatArray, TensorInfo, WeightFile, open_weight_file, require_file

WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
PREFIX = "flava."
"""What FlavaForPreTraining puts before FlavaModel's names."""
MODEL_ROOTS = (
    "logit_scale",
    "text_model.",
    "image_model.",
    "multimodal_model.",
    "text_projection.",
    "image_projection.",
    "text_to_mm_projection.",
    "image_to_mm_projection.",
)
"""How FlavaModel's own names begin; everything else is a pretraining head or the codebook."""


class CheckpointReader:
    """A checkpoint folder. Opening reads headers only; `tensor` reads one tensor as float32.

    Raises a CheckpointError when a file is missing, truncated, of an unknown number format or unsafe to load.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config: dict[str, Any] = read_json(directory / "config.json")
        self.weight_paths = find_weight_files(directory)
        self._files: dict[str, WeightFile] = {}
        self._infos: dict[str, TensorInfo] = {}
        for path in self.weight_paths:
            file = open_weight_file(path)
            for name, info in file.infos().items():
                if name in self._infos:
                    raise CheckpointCorruptError(f"{path.name}: {name} is also in {self._files[name].path.name}")
                self._files[name] = file
                self._infos[name] = info
        self.is_pretraining = any(name.startswith(PREFIX) for name in self._infos)
        self._last_file: WeightFile | None = None
        self._sha256: str | None = None

    def names(self) -> list[str]:
        """FlavaModel's tensors without the `flava.` prefix; heads and codebook are left out."""
        return [name for name in map(self._model_name, self._infos) if name is not None]

    def other_names(self) -> list[str]:
        """Stored names that are not FlavaModel's: the pretraining heads, the codebook, and what does not belong."""
        return [name for name in self._infos if self._model_name(name) is None]

    def stored_infos(self) -> dict[str, TensorInfo]:
        """Every tensor as the files name it."""
        return dict(self._infos)

    def info(self, name: str) -> TensorInfo:
        return self._infos[self.stored_name(name)]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.info(name).shape

    def tensor(self, name: str) -> FloatArray:
        """float32 array of a FlavaModel name, or of a stored name as it is."""
        stored = self.stored_name(name)
        file = self._files[stored]
        if self._last_file is not None and self._last_file is not file:
            self._last_file.release()
        self._last_file = file
        return file.tensor(stored)

    def stored_name(self, name: str) -> str:
        """The name in the files of a FlavaModel name, or of a stored name as it is."""
        for stored in (f"{PREFIX}{name}", name) if self.is_pretraining else (name,):
            if stored in self._infos:
                return stored
        raise CheckpointTensorError(f"{self.directory}: tensor {name} is missing")

    def sha256(self) -> str:
        """Of `model.safetensors`; of any other form, of the lines `<file name> <sha256>` of its sorted weight files."""
        if self._sha256 is None:
            if [path.name for path in self.weight_paths] == ["model.safetensors"]:
                self._sha256 = sha256_of_file(self.weight_paths[0])
            else:
                lines = [f"{path.name} {sha256_of_file(path)}\n" for path in sorted(self.weight_paths)]
                self._sha256 = hashlib.sha256("".join(lines).encode()).hexdigest()
        return self._sha256

    def _model_name(self, stored: str) -> str | None:
        if self.is_pretraining:
            return stored.removeprefix(PREFIX) if stored.startswith(PREFIX) else None
        return stored if stored.startswith(MODEL_ROOTS) else None


def find_weight_files(directory: Path) -> list[Path]:
    """The files that hold the weights, every one of them there."""
    for name in WEIGHT_NAMES:
        if (directory / name).is_file():
            return [directory / name]
        index = directory / f"{name}.index.json"
        if index.is_file():
            return shard_paths(index)
    choices = ", ".join([*WEIGHT_NAMES, *(f"{name}.index.json" for name in WEIGHT_NAMES)])
    raise CheckpointFileMissingError(f"{directory}: expected one of {choices}, found none")


def shard_paths(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointCorruptError(f"{index.name}: expected a weight_map of file names by tensor")
    paths = [index.parent / Path(str(shard)).name for shard in sorted(set(weight_map.values()))]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise CheckpointFileMissingError(f"{index.name} names shards that are not there: {', '.join(missing)}")
    return paths


def read_json(path: Path) -> dict[str, Any]:
    require_file(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointCorruptError(f"{path.name}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointCorruptError(f"{path.name}: expected a JSON object")
    return value
