"""One file of weights, safetensors or a pickled state dict, read tensor by tensor.

Knows nothing of FLAVA and nothing of shards: checkpoint_reader.py puts the files of a folder together.
"""

from __future__ import annotations

import json
import logging
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flava_gpu.checkpoint_errors import (
    CheckpointCorruptError,
    CheckpointDtypeError,
    CheckpointFileMissingError,
    CheckpointUnsafeError,
)

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]
Shape = tuple[int, ...]

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors format itself."""
REMAP_BYTES = 256 * 1024 * 1024
"""Pages of a mapped pickle stay resident once read; after this much the file is mapped anew, which lets them go."""
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOAT_DTYPES = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
TORCH_DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}


@dataclass(frozen=True)
class TensorInfo:
    """A stored tensor's number format, in safetensors' words, and its shape."""

    dtype: str
    shape: Shape


class WeightFile(Protocol):
    path: Path

    def infos(self) -> dict[str, TensorInfo]: ...

    def tensor(self, name: str) -> FloatArray: ...

    def release(self) -> None:
        """Give back what reading holds; the next tensor takes it again."""
        ...


class SafetensorsFile:
    """A `.safetensors` file; reading a tensor reads that tensor's bytes and no others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries, self._data_offset = read_header(path)

    def infos(self) -> dict[str, TensorInfo]:
        return {name: TensorInfo(entry["dtype"], tuple(entry["shape"])) for name, entry in self._entries.items()}

    def tensor(self, name: str) -> FloatArray:
        entry = self._entries[name]
        dtype: str = entry["dtype"]
        if dtype not in FLOAT_DTYPES:
            raise unknown_dtype(self.path, name, dtype)
        with self.path.open("rb") as file:
            file.seek(self._data_offset + entry["data_offsets"][0])
            stored = np.fromfile(file, FLOAT_DTYPES[dtype], math.prod(entry["shape"]))
        return widen(stored, dtype).reshape(entry["shape"])

    def release(self) -> None:
        pass


class PickleFile:
    """A `pytorch_model.bin`, loaded with weights only: nothing but tensors is ever built from it."""

    def __init__(self, path: Path) -> None:
        require_file(path)
        self.path = path
        state = load_state_dict(path)
        self._infos = {name: TensorInfo(torch_dtype(tensor), tuple(tensor.shape)) for name, tensor in state.items()}
        self._state: dict[str, Any] = {}
        self._read_bytes = 0

    def infos(self) -> dict[str, TensorInfo]:
        return self._infos

    def release(self) -> None:
        self._state = {}
        self._read_bytes = 0

    def tensor(self, name: str) -> FloatArray:
        if self._read_bytes > REMAP_BYTES:
            self.release()
        if not self._state:
            self._state = load_state_dict(self.path)
        tensor = self._state[name]
        dtype = torch_dtype(tensor)
        if dtype not in FLOAT_DTYPES:
            raise unknown_dtype(self.path, name, dtype)
        self._read_bytes += tensor.numel() * tensor.element_size()
        return np.array(tensor.float().numpy(), dtype=np.float32, order="C")


def open_weight_file(path: Path) -> WeightFile:
    return SafetensorsFile(path) if path.suffix == ".safetensors" else PickleFile(path)


def require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointFileMissingError(f"{path}: expected a file, found none")


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Entries of a safetensors header, checked against the file's size, and where the data begin."""
    require_file(path)
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if size_bytes < 8 or header_bytes > min(size_bytes - 8, MAX_HEADER_BYTES):
            raise CheckpointCorruptError(
                f"{path.name}: header of {header_bytes} bytes in a file of {size_bytes} bytes: truncated, or not safetensors"
            )
        encoded = file.read(header_bytes)
    try:
        header = json.loads(encoded)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        for name, entry in entries.items():
            check_entry(path, name, entry, size_bytes - 8 - header_bytes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointCorruptError | CheckpointDtypeError):
            raise
        raise CheckpointCorruptError(f"{path.name}: the header is not a safetensors header: {error!r}") from error
    return entries, 8 + header_bytes


def check_entry(path: Path, name: str, entry: dict[str, Any], data_bytes: int) -> None:
    dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in DTYPE_BYTES:
        raise unknown_dtype(path, name, dtype)
    expected = math.prod(shape) * DTYPE_BYTES[dtype]
    if start < 0 or min(shape, default=0) < 0 or end - start != expected:
        raise CheckpointCorruptError(
            f"{path.name}: {name}: {dtype} {list(shape)} takes {expected} bytes, its header gives it {end - start}"
        )
    if end > data_bytes:
        raise CheckpointCorruptError(
            f"{path.name}: truncated: {name} ends at byte {end} of the data, the file holds {data_bytes}"
        )


def widen(stored: NDArray[Any], dtype: str) -> FloatArray:
    """Stored floats as float32; bf16 is the upper half of one."""
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)


def load_state_dict(path: Path) -> dict[str, Any]:
    import torch  # here, since reading safetensors needs none of it

    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            logger.warning("%s: written before PyTorch 1.6: cannot be mapped, so all of it is read at once", path.name)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointUnsafeError(f"{path.name}: refused by weights-only loading: {reason}") from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointCorruptError(f"{path.name}: not a whole PyTorch file: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointCorruptError(f"{path.name}: expected a state dict of tensors by name")
    return state


def torch_dtype(tensor: Any) -> str:
    name = str(tensor.dtype).removeprefix("torch.")
    return TORCH_DTYPES.get(name, name)


def unknown_dtype(path: Path, name: str, dtype: str) -> CheckpointDtypeError:
    return CheckpointDtypeError(f"{path.name}: {name}: expected one of {', '.join(FLOAT_DTYPES)}, got {dtype}")
