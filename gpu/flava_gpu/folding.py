"""Moves a shift and a scale per channel from activations into weights, so that int8 activations lose less.

A few loud channels (LayerNorm outliers, massive residual channels) set the int8 step of a whole token. What feeds a
Linear through nothing but an affine step can be re-expressed: y' = (y - shift) / scale there, W' = W * scale and
b' = b + W shift in the Linear. In floats nothing changes. SmoothQuant (arXiv 2211.10438) has the scale, Outlier
Suppression+ (2304.09145) the shift. Works for a LayerNorm's gamma and beta, and for values into the attention output,
since attention weights sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flava_gpu import quantize
from flava_gpu.calibration import quantized_rows
from flava_gpu.encoder_forward import Norm
from flava_gpu.packing import FloatArray
from flava_gpu.schemes import LinearScheme

FOLDABLE = ("attention.attention.query", "attention.output.dense", "intermediate.dense")
"""The first Linears behind something affine: a LayerNorm, or values through attention. GELU lets nothing through."""
EXPONENTS = (0.25, 0.5, 0.75, 1.0)
"""Shares of a channel's loudness that move into the weights, besides none."""
SAMPLED_ROWS = 512
SAMPLED_CHANNELS = 64
LARGEST_SCALE = 64.0
"""Bounds scales both ways: a channel that is silent in calibration may speak later."""


@dataclass(frozen=True)
class Fold:
    shift: Tensor  # [k]
    scale: Tensor  # [k]

    def rows(self, rows: Tensor) -> Tensor:
        return (rows - self.shift) / self.scale

    def weight(self, weight: FloatArray) -> FloatArray:
        """The Linear that takes the folded rows. weight: [n, k]."""
        return weight * self.scale.numpy()

    def bias(self, weight: FloatArray, bias: FloatArray) -> FloatArray:
        """Its bias, from the unfolded weight."""
        return (bias + weight.astype(np.float64) @ self.shift.double().numpy()).astype(np.float32)

    def norm(self, norm: Norm) -> Norm:
        """The LayerNorm that gives the folded rows."""
        return Norm(norm.weight / self.scale, (norm.bias - self.shift) / self.scale, norm.eps)


def no_fold(k: int) -> Fold:
    return Fold(torch.zeros(k), torch.ones(k))


def choose_fold(
    rows: Tensor,
    weights: Tensor,
    linears: list[tuple[LinearScheme, FloatArray]],
    *,
    is_power_of_two: bool = False,
) -> Fold:
    """The fold after which quantized weights on quantized rows come closest to what they should give.

    Shifts by the mean; tries scales by the channels' root mean square and by their maximum, to several powers.
    rows: [rows, k] of the checkpoint; weights: [rows], summing to 1; linears: scheme and [n, k] of all that take them.
    Powers of two can be moved through quantized weights that feed the rows without rounding anything anew.
    """
    shift = weights @ rows
    centered = rows - shift
    loudness = ((weights @ centered.square()).sqrt(), centered.abs().amax(dim=0))
    sample = centered[:: max(1, len(rows) // SAMPLED_ROWS)]
    candidates = [torch.ones_like(shift)]
    candidates += [bounded_scale(measure**exponent, is_power_of_two) for measure in loudness for exponent in EXPONENTS]
    losses = [output_loss(sample, scale, linears) for scale in candidates]
    return Fold(shift, candidates[int(np.argmin(losses))])


def bounded_scale(scale: Tensor, is_power_of_two: bool) -> Tensor:
    """Scales around 1 on average, within bounds; 1 for channels that never move."""
    is_silent = scale == 0
    if bool(is_silent.all()):
        return torch.ones_like(scale)
    logarithm = torch.where(is_silent, 1.0, scale).log2()
    logarithm = torch.where(is_silent, 0.0, logarithm - logarithm[~is_silent].mean())
    bounded = logarithm.clamp(-np.log2(LARGEST_SCALE), np.log2(LARGEST_SCALE))
    return torch.exp2(bounded.round() if is_power_of_two else bounded)


def output_loss(rows: Tensor, scale: Tensor, linears: list[tuple[LinearScheme, FloatArray]]) -> float:
    """Relative squared error of the outputs, summed over the Linears, for a sample of their channels."""
    folded = quantized_rows(rows / scale)
    loss = 0.0
    for scheme, weight in linears:
        part = np.ascontiguousarray(weight[:: max(1, len(weight) // SAMPLED_CHANNELS)][:SAMPLED_CHANNELS])
        part = part[: len(part) // 8 * 8]
        stored = quantize.quantize_linear(scheme, part * scale.numpy()).dequantized()
        expected = rows @ torch.from_numpy(part).T
        difference = folded @ torch.from_numpy(stored).T - expected
        loss += float(difference.square().sum() / expected.square().sum().clamp_min(1e-30))
    return loss
