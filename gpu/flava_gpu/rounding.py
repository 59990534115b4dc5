"""From float weights to signed codes: scales by clip search, codes to nearest or error-compensated (GPTQ).

Knows one matrix at a time and nothing of files. Rows are output channels (or words), columns are inputs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flava_gpu.packing import Codes, FloatArray, round_to_bf16
from flava_gpu.schemes import SchemeSpec

CLIP_FACTORS = tuple(1 - 0.05 * step for step in range(9))
"""Shares of the loudest weight that the largest code may stand for: 1.0 to 0.6. Clipping it buys the others precision."""
DAMPING = 0.01
"""Share of the mean second moment added to each input's own, as in GPTQ: keeps directions never seen from running off."""
BLOCK = 128
"""Columns whose errors are spread in one matrix product, and the size at which a triangle is no longer halved; results
depend on it by float64 rounding only."""

Moments = NDArray[np.float64]
"""Mean of x x^T over a Linear's inputs, [k, k]."""


def search_scales(
    weight: FloatArray,
    spec: SchemeSpec,
    importance: NDArray[np.float64] | None = None,
    factors: tuple[float, ...] = CLIP_FACTORS,
) -> FloatArray:
    """The scale per group with the least squared error, each input's error weighted by its importance [k].

    Tries the clip factors and, where scales may be negative, both the symmetric range and the full one, in which the
    loudest weight takes the code -2^(bits-1) whatever its sign. weight: [n, k] -> [n, k / group].
    """
    n, k = weight.shape
    size = spec.group_size(k)
    groups = weight.reshape(n, k // size, size)
    weights = None if importance is None else importance.astype(np.float32).reshape(1, k // size, size)
    loudest = np.take_along_axis(groups, np.abs(groups).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
    bounds = [np.abs(loudest) / spec.high]
    if spec.scale_dtype == "BF16":
        bounds.append(loudest / spec.low)
    best_error = np.full(loudest.shape, np.inf, np.float32)
    best = np.ones(loudest.shape, np.float32)
    for factor in factors:
        for bound in bounds:
            scale = storable_scale((bound * factor).astype(np.float32), spec)
            error = _group_error(groups, scale, spec, weights)
            is_better = error < best_error
            best_error = np.where(is_better, error, best_error)
            best = np.where(is_better, scale, best)
    return best


def storable_scale(scale: FloatArray, spec: SchemeSpec) -> FloatArray:
    """The scale as the file will hold it; 1 for an all-zero group."""
    rounded = round_to_bf16(scale) if spec.scale_dtype == "BF16" else scale.astype(np.float32)
    return np.where(rounded == 0, np.float32(1), rounded)


def _group_error(groups: FloatArray, scale: FloatArray, spec: SchemeSpec, weights: FloatArray | None) -> FloatArray:
    """Squared error per group. groups: [n, groups, size], scale: [n, groups]."""
    error = groups / scale[:, :, None]
    np.rint(error, out=error)
    np.clip(error, spec.low, spec.high, out=error)
    error *= scale[:, :, None]
    error -= groups
    np.square(error, out=error)
    if weights is not None:
        error *= weights
    return error.sum(axis=2)


def round_to_nearest(weight: FloatArray, scale: FloatArray, spec: SchemeSpec) -> Codes:
    """weight: [n, k], scale: [n, k / group] -> codes [n, k]."""
    n, k = weight.shape
    groups = weight.reshape(n, scale.shape[1], -1)
    codes = np.clip(np.rint(groups / scale[:, :, None]), spec.low, spec.high)
    return codes.astype(np.int8).reshape(n, k)


class Compensator:
    """Rounds weights one input at a time and lets the inputs not yet rounded make up for each error.

    GPTQ (arXiv 2210.17323): minimizes the error of the outputs for inputs with these second moments instead of the
    error of the weights. Inputs are taken in the order of their strength, so that the strongest are rounded while all
    others can still help; the scales are fixed before ("static groups"). Factor once, use for every weight that has
    the same inputs. Float64 throughout; the same moments on the same machine give the same codes.
    """

    def __init__(self, moments: Moments, damping: float = DAMPING) -> None:
        k = len(moments)
        self.order = np.argsort(-np.diag(moments), kind="stable")
        damped = moments[np.ix_(self.order, self.order)].astype(np.float64)
        damped[np.diag_indices(k)] += max(damping * float(np.trace(moments)) / k, np.finfo(np.float32).tiny)
        # inverse = factor^T factor with an upper triangular factor: the flipped inverse of the flipped matrix's factor.
        flipped = torch.from_numpy(np.ascontiguousarray(damped[::-1, ::-1]))
        lower = torch.linalg.cholesky(flipped)
        self.factor: NDArray[np.float64] = np.ascontiguousarray(invert_lower(lower).numpy()[::-1, ::-1])

    def solve(self, cross: NDArray[np.float64]) -> NDArray[np.float64]:
        """cross (moments + damping)^-1. cross: [n, k] -> [n, k]."""
        solved = np.empty_like(cross)
        solved[:, self.order] = (cross[:, self.order] @ self.factor.T) @ self.factor
        return solved

    def round(self, weight: NDArray[np.floating], scale: FloatArray, spec: SchemeSpec) -> Codes:
        """weight: [n, k], scale: [n, k / group] -> codes [n, k]."""
        n, k = weight.shape
        group_of = self.order // spec.group_size(k)
        remaining = np.ascontiguousarray(weight.T[self.order], np.float64)  # [k, n]
        scales = np.ascontiguousarray(scale.T, np.float64)  # [groups, n]
        codes = np.empty((k, n), np.int8)
        for start in range(0, k, BLOCK):
            end = min(start + BLOCK, k)
            errors = np.empty((end - start, n))
            for position in range(start, end):
                row, step = remaining[position], scales[group_of[position]]
                rounded = np.clip(np.rint(row / step), spec.low, spec.high)
                codes[self.order[position]] = rounded
                error = (row - rounded * step) / self.factor[position, position]
                errors[position - start] = error
                remaining[position + 1 : end] -= np.outer(self.factor[position, position + 1 : end], error)
            remaining[end:] -= self.factor[start:end, end:].T @ errors
        return np.ascontiguousarray(codes.T)


def invert_lower(lower: Tensor) -> Tensor:
    """Inverse of a lower triangular matrix, halves first: the zeros cost nothing. [k, k] -> [k, k]."""
    k = len(lower)
    if k <= BLOCK:
        return torch.linalg.solve_triangular(lower, torch.eye(k, dtype=lower.dtype), upper=False)
    half = k // 2
    inverse = torch.zeros_like(lower)
    inverse[:half, :half] = invert_lower(lower[:half, :half])
    inverse[half:, half:] = invert_lower(lower[half:, half:])
    inverse[half:, :half] = -inverse[half:, half:] @ (lower[half:, :half] @ inverse[:half, :half])
    return inverse
