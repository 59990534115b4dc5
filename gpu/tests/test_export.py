"""The package format: files, names, identities and refusals, on a tiny random checkpoint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from flava_gpu import quantize
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.encoder_quantizer import NearestRounder
from flava_gpu.export import ExportOptions, UnfitForEdgeError, check_fits, export_package, parse_budget
from flava_gpu.export_report import ExportReport, report_json
from flava_gpu.package_file import write_tensor_file
from flava_gpu.package_layout import PATCHES, WORD_EMBEDDINGS, SchemePlan, encoder_linears, file_layout
from flava_gpu.packing import pack_linear
from flava_gpu.schemes import LinearScheme
from tests.tiny_checkpoint import LAYERS, write_checkpoint

NEAREST = ExportOptions(rounding="nearest")
FILES = ("config.json", "tokenizer.json", "preprocessor_config.json", "text.safetensors", "image.safetensors")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def wide_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hidden size 64, so that every scheme finds whole groups."""
    return write_checkpoint(tmp_path_factory.mktemp("wide"), hidden_size=64, intermediate_size=128)


@pytest.fixture(scope="module")
def package(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("package")
    export_package(checkpoint, directory, NEAREST)
    return directory


@pytest.fixture(scope="module")
def small(wide_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportReport]:
    directory = tmp_path_factory.mktemp("small")
    return directory, export_package(wide_checkpoint, directory, ExportOptions("small"))


def edge_config(package: Path) -> dict[str, Any]:
    return json.loads((package / "config.json").read_text())["flava_edge"]


def tensor_names(path: Path) -> list[str]:
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    header.pop("__metadata__")
    return list(header)


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Path, package: Path, tmp_path: Path) -> None:
    export_package(checkpoint, tmp_path, NEAREST)
    for file in FILES:
        assert (tmp_path / file).read_bytes() == (package / file).read_bytes()


def test_compensated_rounding_gives_the_same_bytes_again(
    wide_checkpoint: Path, small: tuple[Path, ExportReport], tmp_path: Path
) -> None:
    export_package(wide_checkpoint, tmp_path, ExportOptions("small"))
    for file in FILES:
        assert (tmp_path / file).read_bytes() == (small[0] / file).read_bytes()


def test_the_config_names_every_file_with_its_hash_and_size(package: Path) -> None:
    config = edge_config(package)
    assert (config["format_version"], config["variant"], config["max_text_length"]) == (2, "default", 12)
    assert set(config["files"]) == {"text", "image", "tokenizer", "preprocessor"}
    for entry in config["files"].values():
        content = (package / entry["name"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["size_bytes"] == len(content)
    lines = "".join(f"{config['files'][encoder]['sha256']}\n" for encoder in ("text", "image"))
    assert config["weights"] == hashlib.sha256(lines.encode()).hexdigest()


def test_the_config_names_a_scheme_for_every_quantized_tensor_and_for_no_other(
    small: tuple[Path, ExportReport],
) -> None:
    schemes = edge_config(small[0])["schemes"]
    files = [small[0] / f"{encoder}.safetensors" for encoder in ("text", "image")]
    scaled = {name.removesuffix("_scale") for file in files for name in tensor_names(file) if name.endswith("_scale")}
    assert {f"{name}.weight" for name in schemes} == scaled
    assert schemes[WORD_EMBEDDINGS] == "e6"


def test_safetensors_reads_each_file_and_finds_what_the_layout_says(
    wide_checkpoint: Path, small: tuple[Path, ExportReport]
) -> None:
    schemes = edge_config(small[0])["schemes"]
    plan = SchemePlan(schemes.pop(WORD_EMBEDDINGS), schemes)
    for encoder in ("text", "image"):
        layout = file_layout(CheckpointReader(wide_checkpoint).config, encoder, plan)
        path = small[0] / f"{encoder}.safetensors"
        assert tensor_names(path) == [spec.name for spec in layout]
        with safe_open(path, framework="pt") as tensors:
            assert tensors.metadata() == {"format": "flava-edge", "format_version": "2", "variant": "small"}
            for spec in layout:
                assert tuple(tensors.get_tensor(spec.name).shape) == spec.shape
                assert tensors.get_tensor(spec.name).nbytes == spec.size_bytes


def test_a_package_holds_both_encoders_and_nothing_of_poolers_heads_or_the_multimodal_part(package: Path) -> None:
    text, image = (tensor_names(package / f"{encoder}.safetensors") for encoder in ("text", "image"))
    assert all(name.startswith("text_") for name in text)
    assert all(name.startswith("image_") for name in image)
    assert len(text) + len(image) == 2 * (LAYERS * (4 + 6 * 3) + 2 + 3) + 6 + 5
    unwanted = ("pooler", "mask_token", "multimodal", "to_mm", "head", "codebook", "logit_scale")
    assert not [name for name in text + image if any(part in name for part in unwanted)]


def test_the_patch_convolution_is_flattened_in_channel_dy_dx_order(checkpoint: Path) -> None:
    reader = CheckpointReader(checkpoint)
    plan = SchemePlan("e8", {PATCHES: "w7"})
    linear = NearestRounder(reader, "image", plan).patches()
    convolution = torch.from_numpy(reader.tensor(f"{PATCHES}.weight"))
    picture = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    expected = torch.nn.functional.conv2d(picture, convolution, stride=4).flatten(2).transpose(1, 2)
    patches = picture[0].unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4).reshape(1, 16, 48)
    actual = patches @ torch.from_numpy(linear.weight.dequantized()).T
    # 7-bit weights of 48 inputs: about 1 % of the output's size; a wrong order is off by 100 %.
    assert (actual - expected).norm() < 0.03 * expected.norm()


def test_space_follows_the_checkpoint_and_weights_follow_the_files(package: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", seed=1)
    report = export_package(other, tmp_path / "out", NEAREST)
    here = edge_config(package)
    assert len(here["space"]) == 16
    assert report.space != here["space"]
    assert report.weights != here["weights"]


def test_variants_share_the_space_and_differ_in_weights(checkpoint: Path, package: Path, tmp_path: Path) -> None:
    report = export_package(checkpoint, tmp_path, ExportOptions("w8", "nearest"))
    assert report.space == edge_config(package)["space"]
    assert report.weights != edge_config(package)["weights"]


def test_space_follows_the_tokenizer_and_weights_do_not(checkpoint: Path, package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoint"
    copy.mkdir()
    for file in ("config.json", "model.safetensors"):
        (copy / file).write_bytes((checkpoint / file).read_bytes())
    (copy / "tokenizer.json").write_text('{"version": "2.0"}')
    report = export_package(copy, tmp_path / "out", NEAREST)
    assert report.space != edge_config(package)["space"]
    assert report.weights == edge_config(package)["weights"]


def test_tensors_without_whole_groups_fall_back_to_w7(package: Path) -> None:
    schemes = edge_config(package)["schemes"]
    assert schemes.pop(WORD_EMBEDDINGS) == "e8"
    projections = {schemes.pop(f"{encoder}_projection") for encoder in ("text", "image")}
    assert projections == {"w8"}  # of every variant
    assert set(schemes.values()) == {"w7"}


def test_an_unpackable_checkpoint_is_refused_with_the_name_of_its_tensor(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "odd", intermediate_size=44)
    with pytest.raises(ValueError, match=r"intermediate\.dense\.weight: .* got \[44, 16\]"):
        export_package(checkpoint, tmp_path / "out", NEAREST)
    assert not (tmp_path / "out").exists()


def full_size_config() -> dict[str, Any]:
    block = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
    return {
        "text_config": {**block, "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2},
        "image_config": {**block, "image_size": 224, "patch_size": 16, "num_channels": 3},
        "projection_dim": 768,
    }


def full_size_plan(scheme: LinearScheme) -> SchemePlan:
    config = full_size_config()
    return SchemePlan(
        "e8", {linear.name: scheme for encoder in ("text", "image") for linear in encoder_linears(config, encoder)}
    )


def test_eight_bit_text_of_the_full_geometry_is_refused_for_the_edge_unless_told_otherwise() -> None:
    with pytest.raises(UnfitForEdgeError, match=r"variant w8: the text encoder takes 10\d\.\d MiB, .* 92 MiB"):
        check_fits(full_size_config(), full_size_plan("w8"), ExportOptions("w8"))
    check_fits(full_size_config(), full_size_plan("w8"), ExportOptions("w8", allow_unfit=True))


def test_the_limit_of_the_edge_is_the_whole_files(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = sum(spec.size_bytes for spec in file_layout(full_size_config(), "text", full_size_plan("w6g64")))
    monkeypatch.setattr("flava_gpu.export.EDGE_FILE_LIMIT", tensors + 1000)
    with pytest.raises(UnfitForEdgeError, match="the text encoder takes"):
        check_fits(full_size_config(), full_size_plan("w6g64"), ExportOptions())


def test_six_bit_text_of_the_full_geometry_fits_the_edge() -> None:
    check_fits(full_size_config(), full_size_plan("w6g64"), ExportOptions())


def test_a_file_whose_tensors_come_in_another_order_is_refused(tmp_path: Path) -> None:
    layout = file_layout(full_size_config(), "text", full_size_plan("w7"))
    with pytest.raises(ValueError, match=r"expected text_model\.embeddings\.word_embeddings\.weight, got other"):
        write_tensor_file(tmp_path / "text.safetensors", layout, [("other", np.zeros(1, np.float32))], {})
    with pytest.raises(ValueError, match=r"word_embeddings\.weight is missing"):
        write_tensor_file(tmp_path / "text.safetensors", layout, [], {})


def test_the_stored_bytes_are_the_packed_codes(checkpoint: Path, package: Path) -> None:
    name = "text_projection"
    weight = CheckpointReader(checkpoint).tensor(f"{name}.weight")
    with safe_open(package / "text.safetensors", framework="numpy") as tensors:
        packed, scale = tensors.get_tensor(f"{name}.weight"), tensors.get_tensor(f"{name}.weight_scale")
    stored = quantize.unpack_linear("w8", packed, scale)
    assert np.array_equal(pack_linear("w8", stored.codes), packed)
    assert quantize.relative_error(weight, stored.dequantized()) < 0.02


def test_the_report_has_errors_by_tensor_and_bytes_by_part(small: tuple[Path, ExportReport]) -> None:
    directory, report = small
    written = report_json(report)
    json.dumps(written)
    linears = {name: error for name, error in written["tensors"].items() if "word_embeddings" not in name}
    assert len(linears) == 2 * (LAYERS * 6 + 1) + 1
    assert all(0 < error["relative_error"] < 0.3 and 0 < error["output_error"] < 0.3 for error in linears.values())
    assert written["tensors"][f"{WORD_EMBEDDINGS}.weight"]["output_error"] is None
    assert set(written["bytes"]["text"]) - set(written["bytes"]["image"]) == {"word_embeddings"}
    for encoder in ("text", "image"):
        header = int.from_bytes((directory / f"{encoder}.safetensors").read_bytes()[:8], "little")
        size = (directory / f"{encoder}.safetensors").stat().st_size
        assert sum(written["bytes"][encoder].values()) == size - 8 - header
        allocation = written["allocation"][encoder]
        assert allocation["damage"] < allocation["uniform_damage"]["w4g64"]


@pytest.mark.parametrize("limit", [80_000, 81_234])
def test_a_budget_is_met_by_the_whole_file(wide_checkpoint: Path, tmp_path: Path, limit: int) -> None:
    options = ExportOptions(rounding="nearest", budget_bytes={"text": limit})
    report = export_package(wide_checkpoint, tmp_path, options)
    assert 0.9 * limit < (tmp_path / "text.safetensors").stat().st_size <= limit
    assert len({scheme for name, scheme in report.schemes.items() if name.startswith("text_model.encoder")}) > 1


def test_a_budget_is_read_in_mebibytes_by_encoder() -> None:
    assert parse_budget("text=64,image=0.5") == {"text": 64 << 20, "image": 1 << 19}
    for wrong in ("64", "text=", "sound=3", "text=-1"):
        with pytest.raises(Exception, match="expected text=<MiB>,image=<MiB>"):
            parse_budget(wrong)
