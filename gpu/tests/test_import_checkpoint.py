"""A Hugging Face folder is staged whole, or refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil

from flava_gpu.checkpoint_errors import CheckpointConfigError, CheckpointFileMissingError, CheckpointTensorError
from flava_gpu.checkpoint_parts import complete_config, license_of, read_preprocessor
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.export import ExportOptions, export_package
from flava_gpu.import_checkpoint import stage_checkpoint
from flava_gpu.standin import Kind, Layout, write_standin
from flava_gpu.standin_geometry import geometry_config
from flava_gpu.standin_tokenizer import standin_pieces


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    write_standin(path, "tiny", 0)
    return path


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("model", "safetensors"),
        ("model", "sharded"),
        ("model", "bin"),
        ("model", "sharded-bin"),
        ("pretraining", "bin"),
        ("pretraining", "sharded-bin"),
    ],
)
def test_a_staged_checkpoint_exports(
    tmp_path: Path, kind: Kind, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flava_gpu.standin.SHARD_BYTES", 400_000)
    write_standin(tmp_path / "checkpoint", "tiny", 0, kind, layout)
    report = stage_checkpoint(tmp_path / "checkpoint", tmp_path / "staged")
    assert report.checkpoint == CheckpointReader(tmp_path / "staged").sha256()
    assert report.kind == ("FlavaForPreTraining" if kind == "pretraining" else "FlavaModel")
    assert report.license_id == "apache-2.0"
    options = ExportOptions(variant="w8", rounding="nearest")
    assert export_package(tmp_path / "staged", tmp_path / "package", options).checkpoint == report.checkpoint


def test_a_vocabulary_without_tokenizer_json_becomes_one(folder: Path, tmp_path: Path) -> None:
    expected = Tokenizer.from_file(str(folder / "tokenizer.json"))
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(standin_pieces(512)) + "\n")
    stage_checkpoint(folder, tmp_path / "staged")
    staged = Tokenizer.from_file(str(tmp_path / "staged" / "tokenizer.json"))
    assert staged.to_str() == expected.to_str()


@pytest.mark.parametrize(
    "setting", [{"do_lower_case": False}, {"tokenize_chinese_chars": False}, {"strip_accents": True}]
)
def test_a_vocabulary_of_another_kind_of_tokenizer_is_refused(
    folder: Path, tmp_path: Path, setting: dict[str, bool]
) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(standin_pieces(512)))
    (folder / "tokenizer_config.json").write_text(json.dumps(setting))
    with pytest.raises(CheckpointConfigError, match=f"{next(iter(setting))}: expected"):
        stage_checkpoint(folder, tmp_path / "staged")


def test_no_tokenizer_is_refused_and_nothing_is_staged(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointFileMissingError, match=r"expected tokenizer\.json or vocab\.txt"):
        stage_checkpoint(folder, tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


def test_ids_beyond_the_embeddings_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(standin_pieces(513)))
    with pytest.raises(CheckpointConfigError, match="ids below the vocab_size of 512, got 512"):
        stage_checkpoint(folder, tmp_path / "staged")


def test_a_value_that_is_no_number_is_refused_with_its_tensor(folder: Path, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    state["text_projection.bias"][3] = torch.inf
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointTensorError, match=r"NaN or infinity in 1 tensors: text_projection\.bias"):
        stage_checkpoint(folder, tmp_path / "staged")


def test_a_sparse_config_is_completed_with_flava_s_defaults() -> None:
    assert complete_config({"model_type": "flava"})["text_config"]["vocab_size"] == 30_522
    whole = geometry_config("tiny", "model")
    assert complete_config(whole) == complete_config(complete_config(whole))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "clip"}, "model_type: expected flava, got clip"),
        (
            {"model_type": "flava", "text_config": {"hidden_act": "relu"}},
            r"text_config\.hidden_act: expected gelu, got relu",
        ),
        (
            {"model_type": "flava", "image_config": {"num_channels": 1}},
            r"image_config\.num_channels: expected 3, got 1",
        ),
    ],
)
def test_an_architecture_that_the_engine_lacks_is_refused_by_field(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointConfigError, match=message):
        complete_config(config)


def test_transformers_own_preprocessor_files_are_accepted(tmp_path: Path) -> None:
    read_preprocessor(tmp_path, 224)
    FlavaImageProcessorPil().save_pretrained(tmp_path)
    read_preprocessor(tmp_path, 224)
    old = {"feature_extractor_type": "FlavaFeatureExtractor", "size": 224, "crop_size": 224, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    read_preprocessor(tmp_path, 224)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"resample": 2}, "resample: expected 3, got 2"),
        ({"size": {"shortest_edge": 224}}, "size: expected 224, got "),
        ({"image_mean": [0.5, 0.5, 0.5]}, "image_mean: expected "),
        ({"do_center_crop": True, "crop_size": 200}, "crop_size: expected 224, got 200"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor: expected "),
    ],
)
def test_another_preprocessing_is_refused_by_field(tmp_path: Path, setting: dict[str, Any], message: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(setting))
    with pytest.raises(CheckpointConfigError, match=message):
        read_preprocessor(tmp_path, 224)


def test_the_licence_is_the_model_card_s(tmp_path: Path) -> None:
    assert license_of(tmp_path) is None
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: bsd-3-clause\n---\nlicense: none\n")
    assert license_of(tmp_path) == "bsd-3-clause"
    (tmp_path / "README.md").write_text("# Model\nlicense: mit\n")
    assert license_of(tmp_path) is None
