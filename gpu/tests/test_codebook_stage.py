"""The codebook stage as its users run it."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import FlavaImageCodebook

from flava_gpu.training.config import ConfigError
from flava_gpu.training.curves import read_curves
from tests.tiny import codebook_config, run_stage, write_config, write_data


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    raw = codebook_config(write_data(folder / "data"))
    run_stage("codebook", write_config(folder / "codebook.yaml", raw), folder / "runs")
    return folder


def test_a_run_leaves_a_codebook_its_decoder_its_record_and_its_pictures(finished: Path) -> None:
    run = finished / "runs" / "codebook"
    assert FlavaImageCodebook.from_pretrained(run).config.vocab_size == 8
    assert load_file(run / "decoder.safetensors")["blocks.input.weight"].shape == (4, 8, 1, 1)
    record = json.loads((run / "training.json").read_text())
    assert record["stages"][-1]["stage"] == "codebook"
    assert set(record["metrics"]["dev_style"]) == {"l1", "psnr", "codes_used", "perplexity", "most_frequent"}
    # Two sets of pictures, each over its reconstructions; the dev style has ten and the training pictures more.
    assert Image.open(run / "reconstructions.png").size == (16 * 20, 4 * 20)
    assert Image.open(run / "usage.png").size[0] > 300
    assert Image.open(run / "curves.png").size[0] > 300


def test_curves_hold_the_loss_s_parts_and_what_is_watched_on_both_sets(finished: Path) -> None:
    keys = {key for point in read_curves(finished / "runs" / "codebook") for key in point}
    assert {"reconstruction", "information", "usage_kl", "temperature", "dev_style", "training"} <= keys


def test_a_run_goes_on_from_its_checkpoint_to_the_same_weights_bit_for_bit(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = "codebook/checkpoints/step-0000004"
    shutil.copytree(finished / "runs" / kept, tmp_path / kept)
    with caplog.at_level(logging.INFO):
        run_stage("codebook", finished / "codebook.yaml", tmp_path)
    assert "resumed at update 4" in caplog.text
    for file in ("model.safetensors", "decoder.safetensors"):
        once, resumed = load_file(finished / "runs" / "codebook" / file), load_file(tmp_path / "codebook" / file)
        assert once.keys() == resumed.keys()
        assert all(torch.equal(once[name], resumed[name]) for name in once)


def test_a_collapsed_codebook_is_warned_of_by_the_set_of_pictures(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = codebook_config(finished / "data", updates=4)
    raw["codebook"]["vocab_size"] = 512  # more codes than the ten dev pictures have patches
    run_stage("codebook", write_config(tmp_path / "c.yaml", raw), tmp_path)
    assert "dev_style: only" in caplog.text


@pytest.mark.parametrize(
    ("section", "key", "message"),
    [(None, "vocabulary", "vocabulary"), ("prior", "kl", "kl"), ("codebook", "num_groups", "num_groups")],
)
def test_an_unknown_key_is_named(finished: Path, tmp_path: Path, section: str | None, key: str, message: str) -> None:
    raw = codebook_config(finished / "data")
    (raw if section is None else raw[section])[key] = 1
    with pytest.raises(ConfigError, match=f"unknown key '{message}'"):
        run_stage("codebook", write_config(tmp_path / "c.yaml", raw), tmp_path)


def test_an_unknown_reconstruction_loss_is_refused(finished: Path, tmp_path: Path) -> None:
    raw = codebook_config(finished / "data") | {"reconstruction": "l3"}
    with pytest.raises(ConfigError, match=r"reconstruction: expected one of .*logit-laplace"):
        run_stage("codebook", write_config(tmp_path / "c.yaml", raw), tmp_path)
