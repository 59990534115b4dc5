"""Scheme `w7a8`: weights to 7-bit codes in the byte order the WASM kernels read, word embeddings to int8 rows.

Knows numbers only: no files, no model. The layout's other reader is src/wasm; the two meet in model.safetensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCHEME = "w7a8"
PANEL = 8
"""Output channels per panel of the packed layout: two 4-lane accumulators."""
DOT = 4
"""Consecutive k a byte dot product takes: 4 products of u8 and s8 summed into one i32 lane."""
MAX_CODE = 63
"""Codes are -63..63. With the zero point added they stay below 128, which the relaxed dot product needs to be exact."""
ZERO_POINT = 64
DAMPING = 0.01
"""Share of the mean second moment added to each input's own, as in GPTQ: keeps directions never seen from running off."""
MAX_ROW_CODE = 127

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]


@dataclass(frozen=True)
class QuantizedLinear:
    """A Linear's weight as the kernels read it: `weight ~= (codes - 64) * scale`."""

    packed: ByteArray  # [out, in] bytes in the packed order
    scale: FloatArray  # [out]


@dataclass(frozen=True)
class QuantizedRows:
    """An embedding table: `row ~= codes * scale`."""

    codes: NDArray[np.int8]  # [rows, hidden_size]
    scale: FloatArray  # [rows]


def weight_scale(weight: FloatArray) -> FloatArray:
    """Symmetric scale per output channel; 1 for an all-zero channel. weight: [out, in] -> [out]."""
    absolute_maximum = np.abs(weight).max(axis=1)
    return np.where(absolute_maximum == 0, 1, absolute_maximum / MAX_CODE).astype(np.float32)


def round_weight(weight: FloatArray, scale: FloatArray) -> NDArray[np.int8]:
    """Nearest codes in [-63, 63]. weight: [out, in], scale: [out] -> [out, in]."""
    codes = np.rint(weight / scale[:, None])
    return np.clip(codes, -MAX_CODE, MAX_CODE).astype(np.int8)


def round_weight_compensated(weight: FloatArray, scale: FloatArray, moments: NDArray[np.float64]) -> NDArray[np.int8]:
    """Round one input at a time and let the inputs not yet rounded make up for each error (GPTQ, arXiv 2210.17323).

    Minimizes the error of the outputs for inputs with these second moments instead of the error of the weights.
    weight: [out, in], scale: [out], moments: mean of x x^T, [in, in] -> codes [out, in].
    """
    inputs = weight.shape[1]
    order = np.argsort(-np.diag(moments), kind="stable")  # the strongest inputs first, while all others can still help
    damped = moments[np.ix_(order, order)] + DAMPING * np.trace(moments) / inputs * np.eye(inputs)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T  # upper triangular: inverse = factor^T factor
    remaining = weight[:, order].astype(np.float64)
    codes = np.empty(weight.shape, np.int8)
    for position, column in enumerate(order):
        rounded = np.clip(np.rint(remaining[:, position] / scale), -MAX_CODE, MAX_CODE)
        codes[:, column] = rounded
        error = (remaining[:, position] - rounded * scale) / factor[position, position]
        remaining[:, position + 1 :] -= np.outer(error, factor[position, position + 1 :])
    return codes


def quantize_linear(weight: FloatArray, moments: NDArray[np.float64] | None = None) -> QuantizedLinear:
    """Quantize per output channel: to nearest, or compensated when the inputs' moments are known. weight: [out, in]."""
    scale = weight_scale(weight)
    codes = round_weight(weight, scale) if moments is None else round_weight_compensated(weight, scale, moments)
    return QuantizedLinear(pack_weight(codes), scale)


def quantize_rows(table: FloatArray) -> QuantizedRows:
    """Symmetric int8 per row. table: [rows, hidden_size]."""
    absolute_maximum = np.abs(table).max(axis=1)
    scale = np.where(absolute_maximum == 0, 1, absolute_maximum / MAX_ROW_CODE).astype(np.float32)
    codes = np.clip(np.rint(table / scale[:, None]), -MAX_ROW_CODE, MAX_ROW_CODE).astype(np.int8)
    return QuantizedRows(codes, scale)


def check_packable(name: str, shape: tuple[int, ...]) -> None:
    """Refuse a weight the packed layout has no place for."""
    n, k = shape
    if n % PANEL != 0 or k % DOT != 0:
        raise ValueError(f"{name}: expected [n, k] with n % {PANEL} == 0 and k % {DOT} == 0, got [{n}, {k}]")


def pack_weight(codes: NDArray[np.int8]) -> ByteArray:
    """Codes in [out, in] order to unsigned bytes in the packed order, still of shape [out, in].

    Order of the bytes: `[out/8][in/4][8 output channels][4 inputs]`.
    """
    n, k = codes.shape
    check_packable("weight", (n, k))
    unsigned = (codes.astype(np.int16) + ZERO_POINT).astype(np.uint8)
    panels = unsigned.reshape(n // PANEL, PANEL, k // DOT, DOT)
    return np.ascontiguousarray(panels.transpose(0, 2, 1, 3)).reshape(n, k)


def unpack_weight(packed: ByteArray) -> NDArray[np.int8]:
    """The inverse of pack_weight: signed codes in [out, in] order."""
    n, k = packed.shape
    panels = packed.reshape(n // PANEL, k // DOT, PANEL, DOT).transpose(0, 2, 1, 3).reshape(n, k)
    return (panels.astype(np.int16) - ZERO_POINT).astype(np.int8)


def dequantize_linear(quantized: QuantizedLinear) -> FloatArray:
    """What the kernels compute with, as float32 [out, in]."""
    return unpack_weight(quantized.packed).astype(np.float32) * quantized.scale[:, None]


def dequantize_rows(quantized: QuantizedRows) -> FloatArray:
    return quantized.codes.astype(np.float32) * quantized.scale[:, None]


def relative_error(original: FloatArray, approximation: FloatArray) -> float:
    """Frobenius norm of the difference over that of the original."""
    norm = float(np.linalg.norm(original.astype(np.float64)))
    difference = float(np.linalg.norm(original.astype(np.float64) - approximation.astype(np.float64)))
    return difference / norm if norm > 0 else difference
