"""The storage schemes of package format 2: how many bits a code has, which inputs share a scale, how many bytes that makes.

Knows numbers only, no tensors. Its twin on the reading side is src/wasm/schemes.ts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LinearScheme = Literal["w7", "w8", "w6g64", "w5g64", "w4g64", "w4g32"]
EmbeddingScheme = Literal["e8", "e6", "e4g32"]

PANEL = 8
"""Output channels that lie together in a packed weight: two vectors of four 32-bit lanes."""
STEP = 4
"""Consecutive inputs that a byte dot product takes."""
CHUNK = 16
"""Consecutive inputs whose bits are packed together in the group schemes: 4 steps."""


@dataclass(frozen=True)
class SchemeSpec:
    """value = code * scale for a signed code in low..high; the file holds code + zero."""

    bits: int
    """Stored bits per code; w7 takes a whole byte."""
    group: int | None
    """Consecutive values of a row that share a scale; None: the whole row."""
    low: int
    high: int
    zero: int
    scale_bytes: int
    """4: F32, 2: BF16. Only BF16 scales may be negative: they let the loudest weight take the code -2^(bits-1)."""

    @property
    def dtype(self) -> str:
        return "I8" if self.zero == 0 else "U8"

    @property
    def scale_dtype(self) -> str:
        return "F32" if self.scale_bytes == 4 else "BF16"

    def group_size(self, k: int) -> int:
        return self.group if self.group is not None else k


LINEAR_SCHEMES: dict[LinearScheme, SchemeSpec] = {
    # Codes of w7 are 1..127 in the file, since the relaxed dot product is exact below 128 only.
    "w8": SchemeSpec(8, None, -127, 127, 0, 4),
    "w7": SchemeSpec(8, None, -63, 63, 64, 4),
    "w6g64": SchemeSpec(6, 64, -32, 31, 32, 2),
    "w5g64": SchemeSpec(5, 64, -16, 15, 16, 2),
    "w4g64": SchemeSpec(4, 64, -8, 7, 8, 2),
    "w4g32": SchemeSpec(4, 32, -8, 7, 8, 2),
}

EMBEDDING_SCHEMES: dict[EmbeddingScheme, SchemeSpec] = {
    "e8": SchemeSpec(8, None, -127, 127, 0, 4),
    "e6": SchemeSpec(6, None, -31, 31, 32, 4),
    "e4g32": SchemeSpec(4, 32, -8, 7, 8, 2),
}

E8_MULTIPLE, E6_MULTIPLE = 8, 64
"""What a row's length must be a multiple of."""


def is_linear_packable(scheme: LinearScheme, n: int, k: int) -> bool:
    """Whether a weight [n, k] has whole panels, steps and groups."""
    group = LINEAR_SCHEMES[scheme].group
    if n % PANEL != 0:
        return False
    return k % STEP == 0 if group is None else k % CHUNK == 0 and k % group == 0


def is_embedding_packable(scheme: EmbeddingScheme, hidden_size: int) -> bool:
    multiples: dict[EmbeddingScheme, int] = {"e8": E8_MULTIPLE, "e6": E6_MULTIPLE, "e4g32": 32}
    return hidden_size % multiples[scheme] == 0


def check_linear(name: str, scheme: LinearScheme, shape: tuple[int, ...]) -> None:
    """Refuse a weight the packed layout has no place for."""
    n, k = shape
    if not is_linear_packable(scheme, n, k):
        group = LINEAR_SCHEMES[scheme].group
        whole = STEP if group is None else max(group, CHUNK)
        raise ValueError(f"{name}: {scheme} expects [n, k] with n % {PANEL} == 0 and k % {whole} == 0, got [{n}, {k}]")


def check_embedding(name: str, scheme: EmbeddingScheme, hidden_size: int) -> None:
    if not is_embedding_packable(scheme, hidden_size):
        raise ValueError(f"{name}: {scheme} has no whole groups in rows of {hidden_size}")


def linear_bytes(scheme: LinearScheme, n: int, k: int) -> int:
    """Bytes of weight and scale, without the bias."""
    return _bytes(LINEAR_SCHEMES[scheme], n, k)


def embedding_bytes(scheme: EmbeddingScheme, rows: int, hidden_size: int) -> int:
    return _bytes(EMBEDDING_SCHEMES[scheme], rows, hidden_size)


def _bytes(spec: SchemeSpec, rows: int, columns: int) -> int:
    return rows * columns * spec.bits // 8 + rows * (columns // spec.group_size(columns)) * spec.scale_bytes
