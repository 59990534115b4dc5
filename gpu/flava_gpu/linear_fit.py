"""Rounds one Linear so that its outputs come out right on calibration inputs.

Given x, what the checkpoint's layers feed it, and q, what the package's layers do, looks for stored weights V and a
bias c with V q + c close to W x + b (+ the residual's own drift): GPTQ around the least-squares target, then the mean of
what is left into the bias. Derivation: docs/quantization.md. Knows no model and no files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flava_gpu import quantize
from flava_gpu.packing import FloatArray
from flava_gpu.quantize import QuantizedLinear
from flava_gpu.rounding import DAMPING, Compensator, Moments
from flava_gpu.schemes import LinearScheme

Wide = NDArray[np.float64]
CHUNK_ROWS = 4096
"""Rows per product when moments are summed: float32 products, float64 sums."""

STRIP_COLUMNS = 256
"""Rows of a symmetric product that are made at once, up to the diagonal: 3072 inputs in 1.4 s instead of 2.4, one core."""


@dataclass(frozen=True)
class FitOptions:
    """What may be switched off to measure its worth; docs/quantization.md has the table."""

    is_folded: bool = True
    is_compensated: bool = True
    follows_drift: bool = True
    carries_residual: bool = True
    corrects_bias: bool = True
    damping: float = DAMPING


@dataclass(frozen=True)
class FittedLinear:
    weight: QuantizedLinear
    bias: FloatArray  # [n]
    output_error: float
    """Root mean square error of V q against W q, relative: what rounding alone costs."""


class InputStatistics:
    """Moments of one Linear's inputs over weighted rows. x, q: [rows, k]; weights: [rows], summing to 1."""

    def __init__(self, x: Tensor, q: Tensor, weights: Tensor, options: FitOptions) -> None:
        self.options = options
        self._x, self._q, self._weights = x, q, weights
        self.moments: Moments = second_moments(q, weights)
        self.mean: Wide = weighted_mean(q, weights)
        centered = self.moments - np.outer(self.mean, self.mean) if options.corrects_bias else self.moments
        self.centered: Moments = centered
        self._compensator: Compensator | None = None
        self._drift: Wide | None = None

    @property
    def compensator(self) -> Compensator:
        if self._compensator is None:
            self._compensator = Compensator(self.centered, self.options.damping)
        return self._compensator

    def fit(
        self, scheme: LinearScheme, weight: FloatArray, bias: FloatArray, residual_drift: Tensor | None, name: str
    ) -> FittedLinear:
        """weight: [n, k], bias: [n], residual_drift: [rows, n], what the residual's sum lacks of the checkpoint's."""
        carried = residual_drift if self.options.carries_residual else None
        target = self._target(weight, carried)
        compensator = self.compensator if self.options.is_compensated else None
        rounded = quantize.quantize_linear(scheme, target, self.centered, compensator, name)
        stored = rounded.dequantized()
        fitted_bias = self._fit_bias(weight, stored, bias, carried) if self.options.corrects_bias else bias
        return FittedLinear(rounded, fitted_bias, quantize.output_error(weight, stored, self.moments))

    def _target(self, weight: FloatArray, residual_drift: Tensor | None) -> FloatArray:
        """The float weights whose outputs for q come closest to the checkpoint's for x."""
        if not self.options.is_compensated:
            return weight
        cross = np.zeros(weight.shape)
        if self.options.follows_drift:
            if self._drift is None:
                self._drift = self._cross(self._x - self._q)
            cross += weight.astype(np.float64) @ self._drift
        if residual_drift is not None:
            cross += self._cross(residual_drift)
        return (weight + self.compensator.solve(cross)).astype(np.float32)

    def _cross(self, rows: Tensor) -> Wide:
        """Mean of rows q^T, centered when the bias takes the means: [columns of rows, k]."""
        product = weighted_product(rows, self._q, self._weights)
        if self.options.corrects_bias:
            product -= np.outer(weighted_mean(rows, self._weights), self.mean)
        return product

    def _fit_bias(
        self, weight: FloatArray, stored: FloatArray, bias: FloatArray, residual_drift: Tensor | None
    ) -> FloatArray:
        mean_x = weighted_mean(self._x, self._weights)
        change = weight.astype(np.float64) @ mean_x - stored.astype(np.float64) @ self.mean
        if residual_drift is not None:
            change += weighted_mean(residual_drift, self._weights)
        return (bias + change).astype(np.float32)


def weighted_product(left: Tensor, right: Tensor, weights: Tensor) -> Wide:
    """Weighted mean of left^T right. left: [rows, m], right: [rows, k], weights: [rows] -> [m, k]."""
    total = torch.zeros(left.shape[1], right.shape[1], dtype=torch.float64)
    for start in range(0, len(left), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        total += (left[rows] * weights[rows, None]).T @ right[rows]
    return total.numpy()


def second_moments(rows: Tensor, weights: Tensor) -> Moments:
    """weighted_product(rows, rows), the half above the diagonal mirrored. rows: [rows, k], weights: [rows] -> [k, k]."""
    k = rows.shape[1]
    total = torch.zeros(k, k, dtype=torch.float64)
    for start in range(0, len(rows), CHUNK_ROWS):
        part = rows[start : start + CHUNK_ROWS]
        weighted = part * weights[start : start + CHUNK_ROWS, None]
        for column in range(0, k, STRIP_COLUMNS):
            strip = slice(column, column + STRIP_COLUMNS)
            total[strip, : strip.stop] += weighted[:, strip].T @ part[:, : strip.stop]
    return (total.tril() + total.tril(-1).T).numpy()


def weighted_mean(rows: Tensor, weights: Tensor) -> Wide:
    return (weights @ rows).double().numpy()


def even_weights(count: int) -> Tensor:
    return torch.full((count,), 1 / count)
