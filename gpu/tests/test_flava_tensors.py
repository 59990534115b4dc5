"""The list of tensors is the specification's, and every way to differ from it is reported in full."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flava_gpu.checkpoint_errors import CheckpointConfigError, CheckpointTensorError
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.flava_tensors import Shapes, check_tensors, model_shapes, pretraining_shapes, require_tensors
from flava_gpu.standin import Kind, write_standin
from flava_gpu.standin_geometry import geometry_config

SPECIFICATION = Path(__file__).with_name("fixtures") / "flava-full-tensors.txt"
BLOCKS = {"flava.text_model": 12, "flava.image_model": 12, "flava.multimodal_model": 6}
EMOJI = Path(__file__).parents[2] / "models" / "flava-emoji" / "checkpoint"


def specified() -> Shapes:
    shapes: Shapes = {}
    for line in SPECIFICATION.read_text().splitlines():
        if line.startswith("#"):
            continue
        name, shape = line.split("\t")
        model = ".".join(name.split(".")[:2])
        for layer in range(BLOCKS[model]) if "*" in name else [0]:
            shapes[name.replace("*", str(layer))] = tuple(json.loads(shape))
    return shapes


def test_the_full_geometry_has_the_618_tensors_of_the_specification() -> None:
    expected = specified()
    assert len(expected) == 618
    assert pretraining_shapes(geometry_config("flava-full", "pretraining")) == expected


def test_flava_model_has_the_512_of_them_that_begin_with_flava() -> None:
    expected = {name.removeprefix("flava."): shape for name, shape in specified().items() if name.startswith("flava.")}
    assert len(expected) == 512
    assert model_shapes(geometry_config("flava-full", "model")) == expected


def test_the_trained_emoji_checkpoint_has_all_it_should() -> None:
    check = require_tensors(CheckpointReader(EMOJI))
    assert check.checked == 220
    assert check.ignored == []


def test_a_config_without_a_size_is_refused() -> None:
    with pytest.raises(CheckpointConfigError, match="hidden_size"):
        model_shapes({"text_config": {}, "image_config": {}, "multimodal_config": {}})


@pytest.mark.parametrize("kind", ["model", "pretraining"])
def test_missing_unexpected_and_misshapen_tensors_are_all_listed(tmp_path: Path, kind: Kind) -> None:
    prefix = "flava." if kind == "pretraining" else ""

    def spoil(state: dict[str, torch.Tensor]) -> None:
        del state[f"{prefix}text_model.layernorm.bias"], state[f"{prefix}image_projection.weight"]
        state[f"{prefix}text_projection.weight"] = torch.zeros(64, 32)
        state["something.else"] = torch.zeros(3)
        state[f"{prefix}text_model.embeddings.position_ids"] = torch.arange(40)[None]

    check = check_tensors(CheckpointReader(spoilt(tmp_path, kind, spoil)))
    assert check.missing == {
        f"{prefix}text_model.layernorm.bias": (64,),
        f"{prefix}image_projection.weight": (64, 64),
    }
    assert check.unexpected == {"something.else": (3,)}
    assert check.misshapen == {f"{prefix}text_projection.weight": ((64, 64), (64, 32))}
    assert check.ignored == [f"{prefix}text_model.embeddings.position_ids"]
    with pytest.raises(CheckpointTensorError) as error:
        require_tensors(CheckpointReader(tmp_path))
    assert "2 tensors missing, 1 unexpected, 1 misshapen" in str(error.value)
    assert f"misshapen   {prefix}text_projection.weight: expected [64, 64], got [64, 32]" in str(error.value)


def test_a_head_may_name_its_bias_either_way_but_not_neither(tmp_path: Path) -> None:
    def rename(state: dict[str, torch.Tensor]) -> None:
        state["mlm_head.bias"] = state.pop("mlm_head.decoder.bias")
        del state["mim_head.decoder.bias"]

    check = check_tensors(CheckpointReader(spoilt(tmp_path, "pretraining", rename)))
    assert list(check.missing) == ["mim_head.bias", "mim_head.decoder.bias"]
    assert not check.unexpected


def test_a_codebook_is_no_part_of_the_check_and_said_to_be_ignored_where_it_differs(tmp_path: Path) -> None:
    def add(state: dict[str, torch.Tensor]) -> None:
        state["image_codebook.blocks.input.w"] = torch.zeros(2)

    check = check_tensors(CheckpointReader(spoilt(tmp_path, "pretraining", add)))
    assert check.is_ok
    assert check.ignored == ["image_codebook.blocks.input.w"]


def spoilt(folder: Path, kind: Kind, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A tiny checkpoint with its state dict changed."""
    write_standin(folder, "tiny", 0, kind)
    weights = folder / "model.safetensors"
    state = {name: tensor.clone() for name, tensor in load_file(weights).items()}
    change(state)
    save_file(state, weights)
    return folder
