"""Calibration inputs, the layer-by-layer forward passes, and what fitting on them gains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import FlavaForPreTraining

from flava_gpu import quantize
from flava_gpu.calibrated_rounder import CalibratedRounder, fold_values
from flava_gpu.calibration import FIRST_PICTURE, calibration_pictures, calibration_texts, quantized_rows
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.damage import DamageEstimator
from flava_gpu.encoder_forward import Norm
from flava_gpu.encoder_quantizer import EncoderQuantizer, RoundedLinear
from flava_gpu.folding import Fold, bounded_scale, choose_fold, no_fold
from flava_gpu.linear_fit import (
    CHUNK_ROWS,
    STRIP_COLUMNS,
    FitOptions,
    InputStatistics,
    even_weights,
    second_moments,
    weighted_product,
)
from flava_gpu.package_layout import ENCODERS, Encoder, SchemePlan, encoder_linears
from flava_gpu.packing import round_to_bf16
from flava_gpu.parity_inputs import PICTURE_COUNT, parity_pictures, parity_texts
from flava_gpu.reference_forward import encode_pictures, encode_texts
from flava_gpu.schemes import LinearScheme
from flava_gpu.variants import packable_choices
from tests.tiny_checkpoint import LAYERS, write_checkpoint


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> CheckpointReader:
    directory = write_checkpoint(tmp_path_factory.mktemp("checkpoint"), hidden_size=64, intermediate_size=128)
    return CheckpointReader(directory)


def plan_of(reader: CheckpointReader, scheme: LinearScheme) -> SchemePlan:
    linears: dict[str, LinearScheme] = {
        linear.name: packable_choices(linear, (scheme,))[0]
        for encoder in ENCODERS
        for linear in encoder_linears(reader.config, encoder)
    }
    return SchemePlan("e8", linears)


def test_no_calibration_input_is_measured_with(reader: CheckpointReader) -> None:
    measured = {tuple(text.input_ids) for text in parity_texts(reader.directory)}
    texts = calibration_texts(reader)
    assert len(texts) > 100
    assert not [text for text in texts if tuple(text.input_ids) in measured]
    assert FIRST_PICTURE >= PICTURE_COUNT


def test_calibration_inputs_are_the_same_every_time(reader: CheckpointReader) -> None:
    assert calibration_texts(reader) == calibration_texts(reader)
    assert torch.equal(calibration_pictures(reader), calibration_pictures(reader))


def test_rows_are_quantized_as_the_engine_does() -> None:
    rows = torch.tensor([[1.0, -2.0, 0.505], [0.0, 0.0, 0.0]])
    assert torch.allclose(quantized_rows(rows), torch.tensor([[64 * 2 / 127, -2.0, 32 * 2 / 127], [0, 0, 0]]))


def test_the_reference_equals_transformers_whole_model(reader: CheckpointReader) -> None:
    model = FlavaForPreTraining.from_pretrained(reader.directory, dtype=torch.float32).eval().flava
    texts, pictures = parity_texts(reader.directory)[::20], parity_pictures(16)[:20]
    reference = encode_texts(reader, texts)
    with torch.inference_mode():
        for index, text in enumerate(texts):
            output = model.text_model(
                input_ids=torch.tensor([text.input_ids]),
                token_type_ids=torch.tensor([text.token_type_ids]),
                output_hidden_states=True,
            )
            assert torch.allclose(reference.hidden[index], output.last_hidden_state[0], atol=1e-5)
            assert torch.allclose(reference.pre_norm[index], output.hidden_states[-1][0], atol=1e-5)
            projected = model.text_projection(output.last_hidden_state[0, 0])
            assert torch.allclose(reference.projected[index], projected, atol=1e-5)
            for layer, states in enumerate(output.hidden_states):
                assert torch.allclose(reference.cls_layers[layer][index], states[0, 0], atol=1e-5)
    assert len(reference.cls_layers) == LAYERS + 1
    assert encode_pictures(reader, pictures).cls_layers[-1].shape == (20, 64)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_rounders_fp32_stream_equals_the_reference(reader: CheckpointReader, encoder: Encoder) -> None:
    rounder, expected = walked(reader, encoder, "w7", FitOptions())
    assert torch.allclose(rounder.vectors[0][rounder.input_count :], expected, atol=1e-5)


def walked(
    reader: CheckpointReader, encoder: Encoder, scheme: LinearScheme, options: FitOptions
) -> tuple[CalibratedRounder, torch.Tensor]:
    """A rounder that has seen all layers, with held-out inputs and what the reference makes of them."""
    plan = plan_of(reader, scheme)
    if encoder == "text":
        holdout = parity_texts(reader.directory)[::4]
        projected = encode_texts(reader, holdout).projected
    else:
        pictures = parity_pictures(16)[:40]
        holdout = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - mean()) / std()
        projected = encode_pictures(reader, pictures).projected
    rounder = CalibratedRounder(reader, encoder, plan, options, holdout)
    for _ in EncoderQuantizer(reader, encoder, plan, rounder).tensors():
        pass
    return rounder, torch.stack(projected)


def mean() -> torch.Tensor:
    return torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)


def std() -> torch.Tensor:
    return torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_fitting_on_calibration_inputs_helps_inputs_never_seen(reader: CheckpointReader, encoder: Encoder) -> None:
    plain = FitOptions(is_compensated=False, corrects_bias=False, carries_residual=False)
    nearest, _ = walked(reader, encoder, "w4g64", plain)
    fitted, _ = walked(reader, encoder, "w4g64", FitOptions())
    losses = [1 - float(rounder.cosines(of_holdout=True).mean()) for rounder in (fitted, nearest)]
    assert losses[0] < 0.7 * losses[1]


def test_the_bias_takes_the_mean_of_what_rounding_changes() -> None:
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(1, 1, (2000, 64)).astype(np.float32))
    weight, bias = rng.normal(0, 0.1, (8, 64)).astype(np.float32), rng.normal(0, 1, 8).astype(np.float32)
    fitted = InputStatistics(x, x, even_weights(2000), FitOptions()).fit("w4g64", weight, bias, None, "linear")
    stored = torch.from_numpy(fitted.weight.dequantized())
    expected = x @ torch.from_numpy(weight).T + torch.from_numpy(bias)
    actual = x @ stored.T + torch.from_numpy(fitted.bias)
    assert (actual - expected).mean(dim=0).abs().max() < 1e-4


def test_fitting_follows_a_drift_that_is_linear_in_the_inputs() -> None:
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.normal(0, 1, (4000, 64)).astype(np.float32))
    q = x * torch.linspace(0.8, 1.2, 64)  # what the layers before have made of x
    weight, bias = rng.normal(0, 0.1, (8, 64)).astype(np.float32), np.zeros(8, np.float32)
    expected = x @ torch.from_numpy(weight).T

    def loss(options: FitOptions) -> float:
        fitted = InputStatistics(x, q, even_weights(4000), options).fit("w7", weight, bias, None, "linear")
        actual = q @ torch.from_numpy(fitted.weight.dequantized()).T + torch.from_numpy(fitted.bias)
        return float((actual - expected).norm() / expected.norm())

    assert loss(FitOptions()) < 0.4 * loss(FitOptions(follows_drift=False))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_damage_is_known_of_every_linear_and_falls_with_bits(reader: CheckpointReader, encoder: Encoder) -> None:
    names = [linear.name for linear in encoder_linears(reader.config, encoder)]
    choices: dict[str, tuple[LinearScheme, ...]] = {name: ("w4g64", "w6g64") for name in names if "patch" not in name}
    damage = DamageEstimator(reader, encoder, choices).estimate()
    assert set(damage) == set(choices)
    assert all(0 < by_scheme["w6g64"] < by_scheme["w4g64"] for by_scheme in damage.values())


def test_write_checkpoint_is_deterministic(tmp_path: Path) -> None:
    first, second = (write_checkpoint(tmp_path / name) for name in ("a", "b"))
    assert CheckpointReader(first).sha256() == CheckpointReader(second).sha256()


def test_a_fold_changes_nothing_in_floats() -> None:
    rng = np.random.default_rng(3)
    norm = Norm(torch.from_numpy(rng.normal(1, 1, 64).astype(np.float32)), torch.zeros(64) + 3, 1e-12)
    hidden = torch.from_numpy(rng.normal(0, 1, (200, 64)).astype(np.float32))
    weight, bias = rng.normal(0, 0.1, (8, 64)).astype(np.float32), rng.normal(0, 1, 8).astype(np.float32)
    fold = choose_fold(norm(hidden), even_weights(200), [("w4g64", weight)])
    assert fold.shift.abs().min() > 1
    expected = norm(hidden) @ torch.from_numpy(weight).T + torch.from_numpy(bias)
    folded = fold.norm(norm)(hidden) @ torch.from_numpy(fold.weight(weight)).T
    assert torch.allclose(folded + torch.from_numpy(fold.bias(weight, bias)), expected, atol=1e-4)


def test_a_fold_takes_loud_and_constant_channels_out_of_the_activations_way() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(0, 1, (2000, 64)).astype(np.float32)
    rows[:, 7] = rows[:, 7] * 20 + 100
    x = torch.from_numpy(rows)
    weight = rng.normal(0, 0.1, (64, 64)).astype(np.float32)
    weight[:, 7] /= 20
    expected = (x - x.mean(dim=0)) @ torch.from_numpy(weight).T

    def loss(fold: Fold) -> float:
        stored = quantize.quantize_linear("w8", fold.weight(weight)).dequantized()
        actual = quantized_rows(fold.rows(x)) @ torch.from_numpy(stored).T
        error = actual - actual.mean(dim=0) - expected
        return float(error.norm() / expected.norm())

    assert loss(choose_fold(x, even_weights(2000), [("w8", weight)])) < 0.1 * loss(no_fold(64))


def test_powers_of_two_move_through_the_values_scales_unrounded() -> None:
    weight = np.random.default_rng(5).normal(0, 0.1, (64, 64)).astype(np.float32)
    values = RoundedLinear("value", quantize.quantize_linear("w5g64", weight), np.ones(64, np.float32), 0.0)
    fold = Fold(torch.full((64,), 0.5), bounded_scale(torch.linspace(0.1, 9, 64), is_power_of_two=True))
    folded = fold_values(values, fold)
    assert np.array_equal(folded.weight.dequantized() * fold.scale.numpy()[:, None], values.weight.dequantized())
    assert np.array_equal(round_to_bf16(folded.weight.scale), folded.weight.scale)
    assert np.array_equal(folded.bias * fold.scale.numpy(), np.full(64, 0.5, np.float32))


def test_two_int8_terms_leave_a_hundredth_of_one() -> None:
    rows = torch.from_numpy(np.random.default_rng(6).normal(0, 1, (50, 64)).astype(np.float32))
    one, two = ((quantized_rows(rows, terms) - rows).norm() for terms in (1, 2))
    assert two < 0.01 * one


@pytest.mark.parametrize("k", [3, STRIP_COLUMNS, STRIP_COLUMNS + 5])
def test_moments_by_their_lower_half_are_the_whole_product_to_float32_rounding(k: int) -> None:
    rows = torch.randn(CHUNK_ROWS + 7, k, generator=torch.Generator().manual_seed(k))
    weights = torch.rand(len(rows), generator=torch.Generator().manual_seed(1))
    weights /= weights.sum()
    moments = second_moments(rows, weights)
    assert np.array_equal(moments, moments.T)
    # Sums of CHUNK_ROWS float32 products, each weighted sum near 1.
    assert np.allclose(moments, weighted_product(rows, rows, weights), rtol=0, atol=1e-6)
