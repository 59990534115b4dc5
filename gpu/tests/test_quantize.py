"""Choice of scales and codes: clip search, ranges, zero groups, compensation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flava_gpu import quantize
from flava_gpu.packing import FloatArray, round_to_bf16
from flava_gpu.rounding import BLOCK, Compensator, invert_lower, round_to_nearest, search_scales
from flava_gpu.schemes import EMBEDDING_SCHEMES, LINEAR_SCHEMES, EmbeddingScheme, LinearScheme, SchemeSpec

LINEARS: list[LinearScheme] = list(LINEAR_SCHEMES)
EMBEDDINGS: list[EmbeddingScheme] = list(EMBEDDING_SCHEMES)


def heavy_tailed(seed: int, shape: tuple[int, int] = (32, 128)) -> FloatArray:
    return (np.random.default_rng(seed).standard_t(4, shape) * 0.1).astype(np.float32)


def correlated_inputs(seed: int, k: int = 128, rows: int = 4096) -> FloatArray:
    """Inputs mixed from 8 sources and a little noise: correlated, as those of a trained model are."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(0, 1, (rows, 8)) @ rng.normal(0, 1, (8, k)) + rng.normal(0, 0.1, (rows, k))
    return mixed.astype(np.float32)


@pytest.mark.parametrize("scheme", LINEARS)
def test_codes_and_scales_survive_the_file(scheme: LinearScheme) -> None:
    rounded = quantize.quantize_linear(scheme, heavy_tailed(1))
    back = quantize.unpack_linear(scheme, rounded.packed(), rounded.packed_scale())
    assert np.array_equal(back.codes, rounded.codes)
    assert np.array_equal(back.scale, rounded.scale)
    assert np.array_equal(back.dequantized(), rounded.dequantized())


@pytest.mark.parametrize("scheme", EMBEDDINGS)
def test_rows_survive_the_file(scheme: EmbeddingScheme) -> None:
    rounded = quantize.quantize_rows(scheme, heavy_tailed(2))
    back = quantize.unpack_rows(scheme, rounded.packed(), rounded.packed_scale())
    assert np.array_equal(back.dequantized(), rounded.dequantized())


@pytest.mark.parametrize(
    ("scheme", "largest"),
    [("w8", 0.015), ("w7", 0.03), ("w6g64", 0.04), ("w5g64", 0.08), ("w4g64", 0.16), ("w4g32", 0.14)],
)
def test_relative_errors_halve_with_each_bit(scheme: LinearScheme, largest: float) -> None:
    weight = heavy_tailed(3, (64, 256))
    error = quantize.relative_error(weight, quantize.quantize_linear(scheme, weight).dequantized())
    assert largest / 2 < error < largest


def test_clipping_is_no_worse_than_full_range_and_better_at_few_bits() -> None:
    weight = heavy_tailed(4)
    spec = LINEAR_SCHEMES["w4g64"]
    searched = squared_error(weight, search_scales(weight, spec), spec)
    groups = weight.reshape(32, 2, 64)
    full = squared_error(weight, round_to_bf16(np.abs(groups).max(axis=2) / 7), spec)
    assert (searched <= full).all()
    assert searched.sum() < 0.9 * full.sum()


def squared_error(weight: FloatArray, scale: FloatArray, spec: SchemeSpec) -> FloatArray:
    codes = round_to_nearest(weight, scale, spec).reshape(*scale.shape, -1)
    error = codes * scale[:, :, None] - weight.reshape(codes.shape)
    return np.square(error).sum(axis=2)


def test_the_loudest_weight_of_a_group_takes_the_extra_code_through_a_negative_scale() -> None:
    weight = np.zeros((8, 64), np.float32)
    weight[:, 5] = 8.0  # needs code 8, which there is not, or code -8 with scale -1
    weight[:, 9] = -3.0
    rounded = quantize.quantize_linear("w4g64", weight)
    assert np.array_equal(rounded.dequantized(), weight)
    assert (rounded.scale == -1).all()
    assert (rounded.codes[:, 5] == -8).all()


@pytest.mark.parametrize("scheme", ["w7", "w8"])
def test_scales_of_whole_channels_stay_positive(scheme: LinearScheme) -> None:
    assert (quantize.quantize_linear(scheme, heavy_tailed(5)).scale > 0).all()


@pytest.mark.parametrize("scheme", LINEARS)
def test_zero_groups_get_scale_one_and_come_back_as_zero(scheme: LinearScheme) -> None:
    weight = heavy_tailed(6)
    weight[3] = 0
    rounded = quantize.quantize_linear(scheme, weight, np.eye(128), Compensator(np.eye(128)))
    assert (rounded.scale[3] == 1).all()
    assert not rounded.codes[3].any()


@pytest.mark.parametrize("scheme", EMBEDDINGS)
def test_zero_rows_get_scale_one_and_come_back_as_zero(scheme: EmbeddingScheme) -> None:
    rounded = quantize.quantize_rows(scheme, np.zeros((3, 64), np.float32))
    assert (rounded.scale == 1).all()
    assert not rounded.dequantized().any()


def test_group_scales_are_bf16_before_codes_are_chosen() -> None:
    weight = heavy_tailed(7)
    rounded = quantize.quantize_linear("w5g64", weight)
    assert np.array_equal(round_to_bf16(rounded.scale), rounded.scale)
    assert np.array_equal(round_to_nearest(weight, rounded.scale, LINEAR_SCHEMES["w5g64"]), rounded.codes)


def test_important_inputs_get_the_smaller_errors() -> None:
    weight = heavy_tailed(8)
    importance = np.where(np.arange(128) % 16 == 0, 100.0, 1.0)
    spec = LINEAR_SCHEMES["w4g64"]

    def loss(scale: FloatArray) -> float:
        error = round_to_nearest(weight, scale, spec).reshape(32, 2, 64) * scale[:, :, None] - weight.reshape(32, 2, 64)
        return float((np.square(error).reshape(32, 128) * importance).sum())

    assert loss(search_scales(weight, spec, importance)) < loss(search_scales(weight, spec))


@pytest.mark.parametrize("scheme", ["w7", "w5g64", "w4g32"])
def test_compensated_rounding_halves_the_outputs_error_on_correlated_inputs(scheme: LinearScheme) -> None:
    weight, inputs = heavy_tailed(9), correlated_inputs(9)
    moments = (inputs.T @ inputs / len(inputs)).astype(np.float64)
    nearest = quantize.quantize_linear(scheme, weight)
    compensated = quantize.quantize_linear(scheme, weight, moments, Compensator(moments))
    errors = [quantize.output_error(weight, rounded.dequantized(), moments) for rounded in (compensated, nearest)]
    assert errors[0] < 0.5 * errors[1]


def test_compensated_rounding_with_independent_inputs_is_rounding_to_nearest() -> None:
    weight = heavy_tailed(10)
    spec = LINEAR_SCHEMES["w4g64"]
    scale = search_scales(weight, spec)
    assert np.array_equal(Compensator(np.eye(128)).round(weight, scale, spec), round_to_nearest(weight, scale, spec))


def test_compensation_in_blocks_equals_compensation_input_by_input() -> None:
    k = 2 * BLOCK + 64
    weight, inputs = heavy_tailed(11, (8, k)), correlated_inputs(11, k)
    spec = LINEAR_SCHEMES["w4g64"]
    scale = search_scales(weight, spec)
    compensator = Compensator((inputs.T @ inputs / len(inputs)).astype(np.float64))
    remaining = weight[:, compensator.order].astype(np.float64)
    expected = np.empty((8, k), np.int8)
    for position, column in enumerate(compensator.order):
        step = scale[:, column // 64]
        expected[:, column] = np.clip(np.rint(remaining[:, position] / step), spec.low, spec.high)
        error = (remaining[:, position] - expected[:, column] * step) / compensator.factor[position, position]
        remaining[:, position + 1 :] -= np.outer(error, compensator.factor[position, position + 1 :])
    # Sums in another order may turn a tie: hardly any code, and by one at most.
    difference = np.abs(compensator.round(weight, scale, spec).astype(int) - expected)
    assert (difference > 0).mean() < 0.002


def test_solving_with_the_factor_inverts_the_damped_moments() -> None:
    inputs = correlated_inputs(12)
    moments = (inputs.T @ inputs / len(inputs)).astype(np.float64)
    damped = moments + 0.01 * np.trace(moments) / 128 * np.eye(128)
    cross = np.random.default_rng(12).normal(0, 1, (5, 128))
    assert np.allclose(Compensator(moments, damping=0.01).solve(cross) @ damped, cross, atol=1e-8)


@pytest.mark.parametrize("k", [1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_a_triangle_inverted_by_halves_is_the_inverse_to_float64_rounding(k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    lower = torch.randn(k, k, dtype=torch.float64, generator=generator).tril(-1) / k + torch.eye(k) * 2
    inverse = invert_lower(lower)
    assert torch.equal(inverse, inverse.tril())
    assert torch.allclose(inverse @ lower, torch.eye(k, dtype=torch.float64), rtol=0, atol=1e-14)
