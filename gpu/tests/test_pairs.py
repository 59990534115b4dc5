"""Selecting pictures: splits stay apart, and a leak is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from flava_gpu.pairs import held_out_names, load_pairs, load_training_pairs
from tests.tiny import SHAPES, row, write_data


def test_training_pictures_are_train_styles_of_train_concepts_their_outlines_and_icons(tmp_path: Path) -> None:
    pairs = load_training_pairs(write_data(tmp_path))
    assert {kind: pairs.kinds.count(kind) for kind in set(pairs.kinds)} == {
        "plain": 2 * len(SHAPES),
        "outlined": len(SHAPES),
        "line": len(SHAPES),
        "icon": 5,
    }
    assert set(pairs.names.values()) == {*SHAPES, "arrow", "bolt", "plug", "lamp"}
    assert pairs.images.shape[1:] == (4, 16, 16)


def test_an_icon_called_as_a_concept_is_is_one_more_picture_of_it(tmp_path: Path) -> None:
    pairs = load_training_pairs(write_data(tmp_path))
    icons = pairs.by_concept("icon")
    assert sorted(icons) == ["00", "icon:arrow", "icon:bolt", "icon:lamp", "icon:plug"]
    assert pairs.captions["icon:bolt"] == ["bolt", "bolt sign"]


def test_the_dev_style_has_the_training_concepts_alone(tmp_path: Path) -> None:
    pairs = load_pairs(write_data(tmp_path), "dev-style", "train")
    assert len(pairs.images) == len(SHAPES)


def test_a_held_out_family_in_a_training_selection_is_refused(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    shutil.copyfile(data / "images" / "ink" / "00.png", data / "images" / "ink" / "99.png")
    leaked = {**row("ink/99.png", "leak", "99", "ink", "train-style", "train"), "family": "11"}
    with (data / "pairs.jsonl").open("a") as file:
        file.write(json.dumps(leaked) + "\n")
    with pytest.raises(ValueError, match="held-out family"):
        load_training_pairs(data)


def test_held_out_names_are_those_of_dev_and_test_concepts(tmp_path: Path) -> None:
    assert held_out_names(write_data(tmp_path)) == {"held", "kept"}


def test_missing_data_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="npm run data"):
        load_pairs(tmp_path, "train-style", "train")
