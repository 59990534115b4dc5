"""The package format: bytes, names, numbers and refusals, on a tiny random checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import FlavaConfig, FlavaForPreTraining

from flava_gpu import quantize
from flava_gpu.calibration import input_moments
from flava_gpu.export import Checkpoint, export_package, linear_tensors, package_tensors

LAYERS = 2


def write_checkpoint(directory: Path, seed: int = 0, intermediate_size: int = 48) -> Path:
    """A fp16 FlavaForPreTraining of hidden size 16 on disk, with a tokenizer file beside it."""
    block = {
        "hidden_size": 16,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": intermediate_size,
    }
    config = FlavaConfig(
        image_config={**block, "image_size": 16, "patch_size": 4, "vocab_size": 16},
        text_config={**block, "vocab_size": 40, "max_position_embeddings": 12},
        multimodal_config={**block, "num_hidden_layers": 1},
        image_codebook_config={"hidden_size": 8, "vocab_size": 16},
        hidden_size=16,
        projection_dim=16,
        init_codebook=False,
    )
    torch.manual_seed(seed)
    FlavaForPreTraining(config).half().save_pretrained(directory)
    vocabulary = {
        piece: index for index, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "cat"])
    }
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def package(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("package")
    export_package(checkpoint, directory, "apache-2.0")
    return directory


def edge_config(package: Path) -> dict[str, object]:
    return json.loads((package / "config.json").read_text())["flava_edge"]


def test_packing_puts_channel_n_input_k_at_the_documented_byte() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(-63, 64, (24, 20)).astype(np.int8)
    packed = quantize.pack_weight(codes).reshape(-1)
    for n in range(24):
        for k in range(20):
            offset = (n // 8) * 20 * 8 + (k // 4) * 32 + (n % 8) * 4 + k % 4
            assert packed[offset] == codes[n, k] + 64


def test_unpacking_undoes_packing() -> None:
    codes = np.random.default_rng(2).integers(-63, 64, (16, 12)).astype(np.int8)
    assert np.array_equal(quantize.unpack_weight(quantize.pack_weight(codes)), codes)


@pytest.mark.parametrize(("n", "k"), [(12, 8), (8, 6), (7, 3)])
def test_a_shape_without_whole_panels_is_refused_by_name(n: int, k: int) -> None:
    with pytest.raises(ValueError, match=rf"some\.weight: .* got \[{n}, {k}\]"):
        quantize.check_packable("some.weight", (n, k))


def test_a_weight_comes_back_within_half_a_step_of_its_channel() -> None:
    weight = np.random.default_rng(3).normal(0, 0.1, (32, 64)).astype(np.float32)
    weight[5] *= 40  # one loud channel must not cost the others their precision
    quantized = quantize.quantize_linear(weight)
    error = np.abs(quantize.dequantize_linear(quantized) - weight)
    # Half a step, and the rounding of f32 products on top.
    assert (error <= quantized.scale[:, None] * (0.5 + 1e-5)).all()
    assert quantized.packed.min() >= 1
    assert quantized.packed.max() <= 127


def test_compensated_rounding_makes_smaller_errors_on_the_inputs_it_was_calibrated_for() -> None:
    rng = np.random.default_rng(6)
    weight = rng.normal(0, 0.1, (32, 64)).astype(np.float32)
    # Correlated inputs, as those of a trained model are: 64 of them mixed from 8 sources and a little noise.
    inputs = rng.normal(0, 1, (4096, 8)) @ rng.normal(0, 1, (8, 64)) + rng.normal(0, 0.1, (4096, 64))
    moments = inputs.T @ inputs / len(inputs)
    exact = inputs @ weight.T
    nearest = inputs @ quantize.dequantize_linear(quantize.quantize_linear(weight)).T
    compensated = inputs @ quantize.dequantize_linear(quantize.quantize_linear(weight, moments)).T
    assert np.linalg.norm(compensated - exact) < 0.5 * np.linalg.norm(nearest - exact)


def test_compensated_rounding_with_independent_inputs_is_rounding_to_nearest() -> None:
    weight = np.random.default_rng(7).normal(0, 0.1, (8, 16)).astype(np.float32)
    nearest = quantize.quantize_linear(weight)
    compensated = quantize.quantize_linear(weight, np.eye(16))
    assert np.array_equal(compensated.packed, nearest.packed)


def test_zero_channels_and_rows_get_scale_one_and_come_back_as_zero() -> None:
    linear = quantize.quantize_linear(np.zeros((8, 4), np.float32))
    rows = quantize.quantize_rows(np.zeros((3, 4), np.float32))
    assert linear.scale.tolist() == [1.0] * 8
    assert not quantize.dequantize_linear(linear).any()
    assert rows.scale.tolist() == [1.0] * 3
    assert not quantize.dequantize_rows(rows).any()


def test_embedding_rows_come_back_within_half_a_step_of_their_row() -> None:
    table = np.random.default_rng(4).normal(0, 1, (50, 16)).astype(np.float32)
    quantized = quantize.quantize_rows(table)
    error = np.abs(quantize.dequantize_rows(quantized) - table)
    assert (error <= quantized.scale[:, None] * (0.5 + 1e-5)).all()


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Path, package: Path, tmp_path: Path) -> None:
    export_package(checkpoint, tmp_path, "apache-2.0")
    for file in ("config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"):
        assert (tmp_path / file).read_bytes() == (package / file).read_bytes()


def test_safetensors_reads_the_file_with_text_tensors_before_image_tensors(package: Path) -> None:
    raw = (package / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert header.pop("__metadata__") == {"format": "flava-edge", "format_version": "1", "scheme": "w7a8"}
    names = list(header)
    first_image = next(index for index, name in enumerate(names) if name.startswith("image_"))
    assert all(name.startswith("text_") for name in names[:first_image])
    assert all(name.startswith("image_") for name in names[first_image:])
    with safe_open(package / "model.safetensors", framework="numpy") as tensors:
        assert set(tensors.keys()) == set(names)
        assert tensors.get_tensor("image_model.embeddings.patch_embeddings.projection.weight").shape == (16, 48)


def test_a_package_holds_both_encoders_and_nothing_of_poolers_heads_or_the_multimodal_part(package: Path) -> None:
    with safe_open(package / "model.safetensors", framework="numpy") as tensors:
        names = set(tensors.keys())
    assert len(names) == 2 * (LAYERS * (4 + 6 * 3) + 2 + 3) + 6 + 5
    unwanted = ("pooler", "mask_token", "multimodal", "to_mm", "head", "codebook", "logit_scale")
    assert not [name for name in names if any(part in name for part in unwanted)]


def test_the_patch_convolution_is_flattened_in_channel_dy_dx_order(checkpoint: Path) -> None:
    source = Checkpoint(checkpoint)
    name = "image_model.embeddings.patch_embeddings.projection"
    tensors = dict(linear_tensors(source, name))
    linear = quantize.QuantizedLinear(tensors[f"{name}.weight"], tensors[f"{name}.weight_scale"])
    convolution = torch.from_numpy(source.tensor(f"{name}.weight"))
    picture = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    expected = torch.nn.functional.conv2d(picture, convolution, stride=4).flatten(2).transpose(1, 2)
    patches = picture[0].unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4).reshape(1, 16, 48)
    actual = patches @ torch.from_numpy(quantize.dequantize_linear(linear)).T
    # 7-bit weights of 48 inputs: about 1 % of the output's size; a wrong order is off by 100 %.
    assert (actual - expected).norm() < 0.03 * expected.norm()


def test_space_follows_the_checkpoint_and_weights_follow_the_file(
    checkpoint: Path, package: Path, tmp_path: Path
) -> None:
    other = write_checkpoint(tmp_path / "other", seed=1)
    report = export_package(other, tmp_path / "out", "apache-2.0")
    here = edge_config(package)
    assert len(str(here["space"])) == 16
    assert report.space != here["space"]
    assert report.weights != here["weights"]


def test_space_follows_the_tokenizer_and_weights_do_not(checkpoint: Path, package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoint"
    copy.mkdir()
    for file in ("config.json", "model.safetensors"):
        (copy / file).write_bytes((checkpoint / file).read_bytes())
    (copy / "tokenizer.json").write_text('{"version": "2.0"}')
    report = export_package(copy, tmp_path / "out", "apache-2.0")
    assert report.space != edge_config(package)["space"]
    assert report.weights == edge_config(package)["weights"]


def test_calibration_knows_the_inputs_of_every_linear_of_the_package(checkpoint: Path) -> None:
    moments = input_moments(checkpoint)
    source = Checkpoint(checkpoint)
    linears = [name.removesuffix(".weight") for name, tensor in package_tensors(source) if tensor.dtype == np.uint8]
    assert len(linears) == 2 * (LAYERS * 6 + 1) + 1
    for name in linears:
        inputs = source.tensor(f"{name}.weight")[0].size
        assert moments[name].shape == (inputs, inputs)
        assert np.diag(moments[name]).min() > 0


def test_an_unpackable_checkpoint_is_refused_with_the_name_of_its_tensor(tmp_path: Path) -> None:
    checkpoint = Checkpoint(write_checkpoint(tmp_path / "odd", intermediate_size=44))
    with pytest.raises(ValueError, match=r"intermediate\.dense\.weight: .* got \[44, 16\]"):
        list(package_tensors(checkpoint))
