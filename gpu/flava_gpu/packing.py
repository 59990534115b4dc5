"""Signed codes to the bytes that the WASM kernels read, and back.

Linear weights lie in panels of 8 output channels and steps of 4 inputs: `[n/8][k/4][8 channels][4 inputs]`. A step of a
panel is two 16-byte vectors (channels 0-3, channels 4-7), and 8 and 7-bit codes are stored just so. The group schemes
pack each chunk of 16 inputs, 8 vectors v0..v7 = step 0 low, step 0 high, step 1 low, ...:

    64 bytes   vectors 2s (low 4 bits) and 2s+1 (high 4 bits) of steps s = 0..3
    w5: 16     bit j of byte i is bit 4 of v[j][i]
    w6: 2x16   bits 2j, 2j+1 of byte i of vector h are bits 4-5 of v[4h+j][i]

Embedding rows keep their order; see pack_rows. The layout's other writer, for tests, is src/wasm/pack.ts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flava_gpu.schemes import CHUNK, LINEAR_SCHEMES, PANEL, STEP, EmbeddingScheme, LinearScheme

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]
Codes = NDArray[np.int8]
Bf16 = NDArray[np.uint16]
"""bfloat16 as its bits: numpy has no such type."""

VECTOR = 16
VECTORS = CHUNK // STEP * 2
E6_SPAN = 64
"""Values of an e6 row that are packed together, into 48 bytes."""


def to_bf16(values: FloatArray) -> Bf16:
    """Round finite float32 to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: Bf16) -> FloatArray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def round_to_bf16(values: FloatArray) -> FloatArray:
    return from_bf16(to_bf16(values))


def pack_linear(scheme: LinearScheme, codes: Codes) -> NDArray[Any]:
    """Codes [n, k] to the file's weight tensor: [n, k * bits / 8], int8 for w8, else uint8."""
    n, k = codes.shape
    spec = LINEAR_SCHEMES[scheme]
    panels = codes.reshape(n // PANEL, PANEL, k // STEP, STEP).transpose(0, 2, 1, 3)
    if spec.zero == 0:
        return np.ascontiguousarray(panels).reshape(n, k)
    unsigned = np.ascontiguousarray(panels.astype(np.int16) + spec.zero).astype(np.uint8)
    if spec.group is None:
        return unsigned.reshape(n, k)
    return _pack_chunks(unsigned.reshape(n // PANEL, k // CHUNK, VECTORS, VECTOR), spec.bits).reshape(n, -1)


def unpack_linear(scheme: LinearScheme, packed: NDArray[Any]) -> Codes:
    """The inverse of pack_linear: signed codes [n, k]."""
    spec = LINEAR_SCHEMES[scheme]
    n = packed.shape[0]
    k = packed.shape[1] * 8 // spec.bits
    if spec.group is None:
        stored = packed
    else:
        stored = _unpack_chunks(packed.reshape(n // PANEL, k // CHUNK, CHUNK * spec.bits), spec.bits)
    panels = stored.reshape(n // PANEL, k // STEP, PANEL, STEP).transpose(0, 2, 1, 3).reshape(n, k)
    return (panels.astype(np.int16) - spec.zero).astype(np.int8)


def _pack_chunks(vectors: ByteArray, bits: int) -> ByteArray:
    """[panels, chunks, 8 vectors, 16] unsigned codes to [panels, chunks, 16 * bits] bytes."""
    pieces: list[ByteArray] = [nibble_pairs(vectors)]
    high: ByteArray = np.right_shift(vectors, 4, dtype=np.uint8)
    if bits == 5:
        pieces.append(_merge_bits(high, 1)[:, :, None])
    if bits == 6:
        pieces += [_merge_bits(high[:, :, :4], 2)[:, :, None], _merge_bits(high[:, :, 4:], 2)[:, :, None]]
    return np.concatenate(pieces, axis=2).reshape(*vectors.shape[:2], -1)


def nibble_pairs(vectors: ByteArray) -> ByteArray:
    """Low 4 bits of vectors 0, 1, 2, 3, ... as (0, 1), (2, 3), ...: [.., vectors, 16] to [.., vectors / 2, 16]."""
    low = np.bitwise_and(vectors, 15, dtype=np.uint8)
    return np.bitwise_or(low[:, :, 0::2], np.left_shift(low[:, :, 1::2], 4, dtype=np.uint8), dtype=np.uint8)


def _merge_bits(vectors: ByteArray, width: int) -> ByteArray:
    """[panels, chunks, vectors, 16] to [panels, chunks, 16]: vector j's bits at position j * width."""
    merged = np.zeros((*vectors.shape[:2], VECTOR), np.uint8)
    for j in range(vectors.shape[2]):
        merged |= vectors[:, :, j] << (j * width)
    return merged


def _unpack_chunks(chunks: ByteArray, bits: int) -> ByteArray:
    rows = chunks.reshape(*chunks.shape[:2], -1, VECTOR)
    vectors = np.empty((*chunks.shape[:2], VECTORS, VECTOR), np.uint8)
    vectors[:, :, 0::2] = rows[:, :, :4] & 15
    vectors[:, :, 1::2] = rows[:, :, :4] >> 4
    for j in range(VECTORS):
        if bits == 5:
            vectors[:, :, j] |= ((rows[:, :, 4] >> j) & 1) << 4
        if bits == 6:
            vectors[:, :, j] |= ((rows[:, :, 4 + j // 4] >> (j % 4 * 2)) & 3) << 4
    return vectors


def pack_group_scales(scale: FloatArray) -> Bf16:
    """[n, k/group] to the file's [n/8, k/group, 8]."""
    n, groups = scale.shape
    return to_bf16(np.ascontiguousarray(scale.reshape(n // PANEL, PANEL, groups).transpose(0, 2, 1)))


def unpack_group_scales(packed: Bf16) -> FloatArray:
    panels, groups, _ = packed.shape
    return np.ascontiguousarray(from_bf16(packed).transpose(0, 2, 1)).reshape(panels * PANEL, groups)


def pack_rows(scheme: EmbeddingScheme, codes: Codes) -> NDArray[Any]:
    """Codes [rows, hidden_size] to bytes, row by row.

    e4g32, per 32 values: byte i = value i | value 16+i << 4. e6, per 64 values: 16 bytes n0 = low 4 bits of values i and
    16+i, 16 bytes n1 of values 32+i and 48+i, 16 bytes with bits 4-5 of values i, 16+i, 32+i, 48+i.
    """
    rows, hidden_size = codes.shape
    if scheme == "e8":
        return np.ascontiguousarray(codes)
    if scheme == "e4g32":
        spans = (codes.astype(np.int16) + 8).astype(np.uint8).reshape(rows, -1, 2, VECTOR)
        return (spans[:, :, 0] | (spans[:, :, 1] << 4)).reshape(rows, hidden_size // 2)
    spans = (codes.astype(np.int16) + 32).astype(np.uint8).reshape(rows, hidden_size // E6_SPAN, 4, VECTOR)
    top = _merge_bits(np.right_shift(spans, 4, dtype=np.uint8), 2)[:, :, None]
    return np.concatenate([nibble_pairs(spans), top], axis=2).reshape(rows, -1)


def unpack_rows(scheme: EmbeddingScheme, packed: NDArray[Any]) -> Codes:
    rows = packed.shape[0]
    if scheme == "e8":
        return packed.astype(np.int8)
    if scheme == "e4g32":
        spans = packed.reshape(rows, -1, VECTOR)
        values = np.stack([spans & 15, spans >> 4], axis=2)
        return (values.reshape(rows, -1).astype(np.int16) - 8).astype(np.int8)
    spans = packed.reshape(rows, -1, 3, VECTOR)
    quarters = [
        ((spans[:, :, j // 2] >> (j % 2 * 4)) & 15) | (((spans[:, :, 2] >> (2 * j)) & 3) << 4) for j in range(4)
    ]
    return (np.stack(quarters, axis=2).reshape(rows, -1).astype(np.int16) - 32).astype(np.int8)
