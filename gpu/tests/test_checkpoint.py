"""The checkpoint that a stage leaves: whole, or not there at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import FlavaForPreTraining

from flava_gpu.checkpoint import export_checkpoint
from flava_gpu.evaluation.model import load_checkpoint
from tests.tiny_checkpoint import write_checkpoint


class FullDisk:
    """Stands for a tokenizer that cannot be written, after the weights have been."""

    def save(self, path: str) -> None:
        raise OSError(f"{path}: no space left")


@pytest.fixture
def model(tmp_path: Path) -> FlavaForPreTraining:
    return load_checkpoint(write_checkpoint(tmp_path / "other", seed=1))[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_checkpoint_takes_the_place_of_the_last_one_and_leaves_the_folders_other_files(
    model: FlavaForPreTraining, tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "run")
    (folder / "curves.jsonl").write_text("{}")
    export_checkpoint(folder, model, None, {"heads": ["itm"]})
    assert json.loads((folder / "training.json").read_text()) == {"heads": ["itm"]}
    weight = load_file(folder / "model.safetensors")["itm_head.seq_relationship.weight"]
    assert torch.equal(weight, model.itm_head.seq_relationship.weight.half())
    assert {"curves.jsonl", "tokenizer.json", "config.json"} < contents(folder).keys()
    assert not (tmp_path / "run.partial").exists()


def test_a_failure_in_the_middle_leaves_the_checkpoint_that_was_there(
    model: FlavaForPreTraining, tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "run")
    (folder / "training.json").write_text('{"heads": ["mlm"]}')
    before = contents(folder)
    broken: Any = FullDisk()
    with pytest.raises(OSError, match="no space left"):
        export_checkpoint(folder, model, broken, {"heads": ["itm"]})
    assert contents(folder) == before
    assert not (tmp_path / "run.partial").exists()


def test_no_record_stands_beside_weights_that_it_does_not_tell_of(model: FlavaForPreTraining, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "run")
    (folder / "training.json").write_text('{"heads": ["mlm"]}')
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()  # no file can take its place
    with pytest.raises(OSError, match=r"model\.safetensors"):
        export_checkpoint(folder, model, None, {"heads": ["itm"]})
    assert not (folder / "training.json").exists()
