"""The check of flava-full's known values: its mechanics, on checkpoints that are not flava-full."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import FlavaConfig, FlavaForPreTraining

from flava_gpu import verify_flava_full
from flava_gpu.flava_full_measure import Measured, measure
from flava_gpu.standin import write_standin
from flava_gpu.standin_tokenizer import standin_tokenizer
from flava_gpu.verify_flava_full import GOLDENS, compare, read_goldens, table


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_standin(folder, "tiny", 0)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "cats.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def measured(checkpoint: Path, picture: Path) -> Measured:
    return measure(checkpoint, picture)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["verify-flava-full", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        verify_flava_full.main()
    return int(str(ended.value.code))


def goldens_of(measured: Measured, path: Path, shift: float = 0.0) -> Path:
    items = [{"name": name, "expected": value + shift, "tolerance": 0.01} for name, value in measured.values.items()]
    path.write_text(json.dumps(items))
    return path


def test_a_stand_in_fails_with_every_row_said_to_be_wrong(
    checkpoint: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, checkpoint, picture) == 1
    printed = capsys.readouterr().out
    assert "0 ok, 7 wrong" in printed
    assert "12 rows not checked: needs a FlavaForPreTraining checkpoint" in printed


def test_the_right_values_pass_and_vectors_are_written(
    measured: Measured, checkpoint: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goldens = goldens_of(measured, tmp_path / "goldens.json")
    assert run(monkeypatch, checkpoint, picture, "--goldens", goldens, "--vectors", tmp_path / "vectors") == 0
    assert (tmp_path / "vectors" / "vectors.safetensors").is_file()
    assert len(json.loads((tmp_path / "vectors" / "inputs.json").read_text())["inputIds"]) == 2


def test_values_off_by_more_than_their_tolerance_fail(
    measured: Measured, checkpoint: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goldens = goldens_of(measured, tmp_path / "goldens.json", shift=0.02)
    assert run(monkeypatch, checkpoint, picture, "--goldens", goldens) == 1


def test_a_folder_or_picture_that_cannot_be_read_is_told_apart_from_wrong_values(
    checkpoint: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, picture) == 2
    assert run(monkeypatch, checkpoint, tmp_path / "none.jpg") == 2
    printed = capsys.readouterr().err
    assert "checkpoint_file_missing" in printed
    assert "image_unreadable" in printed


def test_only_the_multimodal_encoder_sees_the_padding_mask_dropped(measured: Measured) -> None:
    masked, attended = (f"sum of multimodal_embeddings{suffix}" for suffix in ("", ", padding attended"))
    assert measured.values[masked] != measured.values[attended]
    difference = "contrastive logits, cat minus dog"
    cat, dog = (measured.values[f"contrastive logit of the {animal}"] for animal in ("cat", "dog"))
    assert measured.values[difference] == pytest.approx(cat - dog)


def test_a_pretraining_checkpoint_with_its_codebook_gives_every_golden(tmp_path: Path, picture: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = FlavaConfig(
        text_config={**small, "vocab_size": 512, "max_position_embeddings": 80},
        image_config={**small, "vocab_size": 16},
        multimodal_config=small,
        image_codebook_config={"hidden_size": 8, "vocab_size": 16},
        hidden_size=16,
        projection_dim=16,
    )
    FlavaForPreTraining(config).save_pretrained(tmp_path)
    standin_tokenizer(512).save(str(tmp_path / "tokenizer.json"))
    measured = measure(tmp_path, picture)
    goldens = read_goldens(GOLDENS)
    assert measured.missing is None
    assert {golden.name for golden in goldens} == measured.values.keys()
    assert all(np.isfinite(value) for value in measured.values.values())
    assert "not checked" not in table(compare(goldens, measured))
