"""Writes a safetensors file tensor by tensor: the header first, since all shapes are known, then bytes as they come.

The safetensors package would want all tensors at once and would sort them; here they stay in the order of the forward
pass, and memory holds one at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flava_gpu.package_layout import TensorSpec

NUMPY_DTYPES = {"U8": np.uint8, "I8": np.int8, "BF16": np.uint16, "F32": np.float32}
NamedTensor = tuple[str, NDArray[Any]]


@dataclass(frozen=True)
class WrittenFile:
    name: str
    sha256: str
    size_bytes: int


def write_tensor_file(
    path: Path, layout: list[TensorSpec], tensors: Iterable[NamedTensor], metadata: dict[str, str]
) -> WrittenFile:
    """Write tensors that must come exactly in the layout's order, and hash the file on the way."""
    digest = hashlib.sha256()
    size_bytes = 0
    remaining = iter(layout)
    with path.open("wb") as file:

        def write(piece: bytes) -> None:
            nonlocal size_bytes
            digest.update(piece)
            file.write(piece)
            size_bytes += len(piece)

        write(file_header(layout, metadata))
        for name, tensor in tensors:
            spec = next(remaining, None)
            if spec is None or spec.name != name:
                raise ValueError(f"{path.name}: expected {spec.name if spec else 'no more tensors'}, got {name}")
            if tensor.shape != spec.shape or tensor.dtype != NUMPY_DTYPES[spec.dtype]:
                expected = f"{spec.dtype} {list(spec.shape)}"
                raise ValueError(f"{name}: expected {expected}, got {tensor.dtype} {list(tensor.shape)}")
            write(np.ascontiguousarray(tensor).tobytes())
    missing = next(remaining, None)
    if missing is not None:
        raise ValueError(f"{path.name}: {missing.name} is missing")
    return WrittenFile(path.name, digest.hexdigest(), size_bytes)


def file_header(layout: list[TensorSpec], metadata: dict[str, str]) -> bytes:
    """What a file begins with: the length of its JSON, and the JSON."""
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for spec in layout:
        end = offset + spec.size_bytes
        header[spec.name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # tensor data starts aligned, as the readers want it
    return len(encoded).to_bytes(8, "little") + encoded
