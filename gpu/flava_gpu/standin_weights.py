"""The values of a stand-in's tensors: heavy tails and outlier channels, for want of the trained ones.

The "heavy" recipe: Student-t (5 degrees) weights under log-normal row and column scales,
plus a low-rank part; LayerNorm gammas with six channels at six times their size; four massive channels in the residual stream,
which enter by the embeddings, and one of them far more at token 0.
The recipe is older than the quantizer; how it is laid over FLAVA's tensors, here, was written beside it and without any of its
results. Frozen since (test_standin.py holds the hash): not to be changed by what a quantizer makes of it.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Shape = tuple[int, ...]
Random = np.random.Generator

RECIPE = "heavy-1"
T_DEGREES = 5
ROW_SPREAD, COLUMN_SPREAD = 0.35, 0.25
DENSE_PART, LOW_RANK_PART, RANK = 0.8, 0.6, 16
NORM_SPREAD, NORM_OUTLIERS, NORM_OUTLIER_GAIN = 0.3, 6, 6.0
BIAS_SPREAD = 0.1
MASSIVE = (25.0, -18.0, 12.0, 30.0)
MASSIVE_TOKEN_0 = 60.0
"""On top of MASSIVE[0], at token 0."""
POSITION_SPREAD = 0.3
CHUNK_ROWS = 2048
GAINS = (
    ("attention.attention.value", 0.7),
    ("attention.output.dense", 0.7),
    ("intermediate.dense", 0.8),
    (".output.dense", 0.9),
)
"""By the end of a Linear's name, the first that fits; all others have 1."""


@dataclass(frozen=True)
class StandinWeights:
    """Every tensor from the seed and its own name, so that the order of making them does not matter."""

    seed: int

    def tensor(self, name: str, shape: Shape) -> FloatArray:
        """float32 of `shape` for a FlavaModel or FlavaForPreTraining name."""
        name = name.removeprefix("flava.")
        random = self._random(name)
        if name == "logit_scale":
            return np.array(math.log(1 / 0.07), dtype=np.float32)
        if name.endswith("position_embeddings.weight") or name.endswith("position_embeddings"):
            return self._positions(random, name, shape)
        if name.endswith("token"):
            return normal(random, shape)
        if name.endswith("word_embeddings.weight"):
            return words(random, shape)
        if name.endswith("token_type_embeddings.weight"):
            return POSITION_SPREAD * normal(random, shape)
        if "layernorm" in name.lower():
            return norm_gamma(random, shape[0]) if name.endswith("weight") else BIAS_SPREAD * normal(random, shape)
        if name.endswith("bias"):
            return BIAS_SPREAD * normal(random, shape)
        return linear(random, shape, gain_of(name))

    def _positions(self, random: Random, name: str, shape: Shape) -> FloatArray:
        """Positions carry the massive channels into every token's residual stream."""
        model = name.split(".")[0]
        table = (POSITION_SPREAD * normal(random, shape)).reshape(-1, shape[-1])
        channels = self._random(f"{model}.massive").choice(shape[-1], len(MASSIVE), replace=False)
        table[:, channels] += np.array(MASSIVE, dtype=np.float32)
        table[0, channels[0]] += np.float32(MASSIVE_TOKEN_0)
        return table.reshape(shape)

    def _random(self, name: str) -> Random:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])


def gain_of(name: str) -> float:
    linear_name = name.removesuffix(".weight")
    for ending, gain in GAINS:
        if linear_name.endswith(ending):
            return gain
    return 1.0


def linear(random: Random, shape: Shape, gain: float) -> FloatArray:
    """[out, in] or [out, in, kH, kW]: the recipe's matrix, which is [in, out], turned over."""
    inputs = math.prod(shape[1:])
    matrix = heavy_matrix(random, inputs, shape[0])
    matrix *= np.float32(gain / math.sqrt(inputs))
    return np.ascontiguousarray(matrix.T).reshape(shape)


def words(random: Random, shape: Shape) -> FloatArray:
    """[vocab, hidden]: the recipe's matrix as it is, so that its log-normal rows are the words'."""
    return heavy_matrix(random, shape[0], shape[1])


def heavy_matrix(random: Random, rows: int, columns: int) -> FloatArray:
    """[rows, columns] of about unit variance. No BLAS, whose sums differ between machines."""
    matrix = student_t(random, rows, columns)
    matrix *= log_normal(random, rows, ROW_SPREAD)[:, None]
    matrix *= log_normal(random, columns, COLUMN_SPREAD)[None, :]
    matrix *= np.float32(DENSE_PART)
    left = normal(random, (rows, RANK))
    right = normal(random, (RANK, columns)) * np.float32(LOW_RANK_PART / math.sqrt(RANK))
    for rank in range(RANK):
        for start in range(0, rows, CHUNK_ROWS):
            matrix[start : start + CHUNK_ROWS] += left[start : start + CHUNK_ROWS, rank, None] * right[None, rank]
    return matrix


def student_t(random: Random, rows: int, columns: int) -> FloatArray:
    """Unit variance; drawn as float64 a few rows at a time."""
    matrix = np.empty((rows, columns), dtype=np.float32)
    for start in range(0, rows, CHUNK_ROWS):
        count = min(CHUNK_ROWS, rows - start)
        matrix[start : start + count] = random.standard_t(T_DEGREES, size=(count, columns))
    matrix /= np.float32(math.sqrt(T_DEGREES / (T_DEGREES - 2)))
    return matrix


def norm_gamma(random: Random, size: int) -> FloatArray:
    gamma = log_normal(random, size, NORM_SPREAD)
    gamma[random.choice(size, NORM_OUTLIERS, replace=False)] *= np.float32(NORM_OUTLIER_GAIN)
    return gamma


def log_normal(random: Random, size: int, spread: float) -> FloatArray:
    return np.exp(spread * random.standard_normal(size)).astype(np.float32)


def normal(random: Random, shape: Shape) -> FloatArray:
    return random.standard_normal(shape, dtype=np.float32)
