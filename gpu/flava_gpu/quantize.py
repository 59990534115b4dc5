"""Quantizes one weight or one embedding table by scheme, and says how far the result is from the original.

Knows numbers only: no files, no model. Layouts are packing.py's, the choice of codes is rounding.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flava_gpu import packing, rounding
from flava_gpu.packing import Codes, FloatArray
from flava_gpu.rounding import Compensator, Moments
from flava_gpu.schemes import (
    EMBEDDING_SCHEMES,
    LINEAR_SCHEMES,
    EmbeddingScheme,
    LinearScheme,
    check_embedding,
    check_linear,
)

MAX_ROW_CODE = 127
"""Activations are int8 per token, -127..127."""


@dataclass(frozen=True)
class QuantizedLinear:
    """A Linear's weight: `weight ~= codes * scale`, each scale for `group` consecutive inputs of a channel."""

    scheme: LinearScheme
    codes: Codes  # [n, k], signed
    scale: FloatArray  # [n, k / group]

    def packed(self) -> NDArray[Any]:
        return packing.pack_linear(self.scheme, self.codes)

    def packed_scale(self) -> NDArray[Any]:
        """f32 [n], or bfloat16 bits [n / 8, k / group, 8]."""
        if LINEAR_SCHEMES[self.scheme].group is None:
            return np.ascontiguousarray(self.scale[:, 0])
        return packing.pack_group_scales(self.scale)

    def dequantized(self) -> FloatArray:
        return _dequantize(self.codes, self.scale)


@dataclass(frozen=True)
class QuantizedRows:
    """An embedding table: `row ~= codes * scale`."""

    scheme: EmbeddingScheme
    codes: Codes  # [rows, hidden_size], signed
    scale: FloatArray  # [rows, hidden_size / group]

    def packed(self) -> NDArray[Any]:
        return packing.pack_rows(self.scheme, self.codes)

    def packed_scale(self) -> NDArray[Any]:
        """f32 [rows], or bfloat16 bits [rows, hidden_size / group]."""
        if EMBEDDING_SCHEMES[self.scheme].group is None:
            return np.ascontiguousarray(self.scale[:, 0])
        return packing.to_bf16(self.scale)

    def dequantized(self) -> FloatArray:
        return _dequantize(self.codes, self.scale)


def quantize_linear(
    scheme: LinearScheme,
    weight: FloatArray,
    moments: Moments | None = None,
    compensator: Compensator | None = None,
    name: str = "weight",
) -> QuantizedLinear:
    """Scales by clip search, weighted by the inputs' moments when known; codes compensated when a compensator is given.

    weight: [n, k].
    """
    n, k = weight.shape
    check_linear(name, scheme, (n, k))
    spec = LINEAR_SCHEMES[scheme]
    importance = None if moments is None else np.diag(moments)
    scale = rounding.search_scales(weight, spec, importance)
    if compensator is None:
        return QuantizedLinear(scheme, rounding.round_to_nearest(weight, scale, spec), scale)
    return QuantizedLinear(scheme, compensator.round(weight, scale, spec), scale)


def quantize_rows(scheme: EmbeddingScheme, table: FloatArray, name: str = "table") -> QuantizedRows:
    """To nearest with clip search per row or group. table: [rows, hidden_size]."""
    check_embedding(name, scheme, table.shape[1])
    spec = EMBEDDING_SCHEMES[scheme]
    scale = rounding.search_scales(table, spec)
    return QuantizedRows(scheme, rounding.round_to_nearest(table, scale, spec), scale)


def unpack_linear(scheme: LinearScheme, packed: NDArray[Any], scale: NDArray[Any]) -> QuantizedLinear:
    """What a file's two tensors stand for."""
    is_grouped = LINEAR_SCHEMES[scheme].group is not None
    scales = packing.unpack_group_scales(scale) if is_grouped else scale[:, None]
    return QuantizedLinear(scheme, packing.unpack_linear(scheme, packed), scales)


def unpack_rows(scheme: EmbeddingScheme, packed: NDArray[Any], scale: NDArray[Any]) -> QuantizedRows:
    is_grouped = EMBEDDING_SCHEMES[scheme].group is not None
    scales = packing.from_bf16(scale) if is_grouped else scale[:, None]
    return QuantizedRows(scheme, packing.unpack_rows(scheme, packed), scales)


def relative_error(original: FloatArray, approximation: FloatArray) -> float:
    """Frobenius norm of the difference over that of the original."""
    norm = float(np.linalg.norm(original.astype(np.float64)))
    difference = float(np.linalg.norm(original.astype(np.float64) - approximation.astype(np.float64)))
    return difference / norm if norm > 0 else difference


def output_energy(weight: NDArray[np.floating], moments: Moments) -> float:
    """tr(W H W^T): the mean squared norm of the outputs for inputs with these moments."""
    wide = weight.astype(np.float64)
    return float(np.einsum("nk,nk->", wide @ moments, wide))


def output_error(original: FloatArray, approximation: FloatArray, moments: Moments) -> float:
    """Root mean square of the outputs' error over that of the outputs."""
    energy = output_energy(original, moments)
    error = output_energy(approximation.astype(np.float64) - original, moments)
    return float(np.sqrt(error / energy)) if energy > 0 else float(np.sqrt(error))


def _dequantize(codes: Codes, scale: FloatArray) -> FloatArray:
    rows, columns = codes.shape
    groups = codes.reshape(rows, scale.shape[1], -1).astype(np.float32)
    return (groups * scale[:, :, None]).reshape(rows, columns)
