"""The YAML configurations: what is accepted and what each mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flava_gpu.joint_config import JointConfig
from flava_gpu.stages.text import TextConfig
from flava_gpu.training.config import ConfigError, as_plain, load_config
from tests.tiny import CONFIGS

JOINT = CONFIGS / "joint.yaml"


def write(tmp_path: Path, raw: dict[str, Any]) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def plain() -> dict[str, Any]:
    return as_plain(load_config(JointConfig, JOINT))


@pytest.mark.parametrize(("kind", "stage"), [(JointConfig, "joint"), (TextConfig, "text")])
def test_the_shipped_configs_survive_a_round_trip(tmp_path: Path, kind: type, stage: str) -> None:
    config = load_config(kind, CONFIGS / f"{stage}.yaml")
    assert load_config(kind, write(tmp_path, as_plain(config))) == config


@pytest.mark.parametrize("place", [["model"], ["optimization"], ["init", 0], []])
def test_an_unknown_key_is_named_with_those_that_are_known(tmp_path: Path, place: list[Any]) -> None:
    raw = plain()
    part: Any = raw
    for key in place:
        part = part[key]
    part["hiden_size"] = 1
    with pytest.raises(ConfigError, match=r"unknown key 'hiden_size', known are \["):
        load_config(JointConfig, write(tmp_path, raw))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    raw = plain()
    del raw["optimization"]["betas"]
    with pytest.raises(ConfigError, match="missing key 'betas'"):
        load_config(JointConfig, write(tmp_path, raw))


@pytest.mark.parametrize(
    ("key", "value"), [("seed", "zero"), ("seed", True), ("seed", 1.5), ("name", 3), ("init", {}), ("codebook", 1)]
)
def test_a_wrong_type_is_named(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        load_config(JointConfig, write(tmp_path, plain() | {key: value}))


def test_a_value_that_is_none_of_the_choices_is_told_them(tmp_path: Path) -> None:
    raw = plain()
    raw["optimization"]["precision"] = "f8"
    with pytest.raises(ConfigError, match=r"precision: expected one of \['f32', 'bf16', 'fp16'\], got 'f8'"):
        load_config(JointConfig, write(tmp_path, raw))


def test_a_configuration_that_is_missing_or_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration"):
        load_config(JointConfig, tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(JointConfig, tmp_path / "broken.yaml")


def test_a_base_gives_what_a_configuration_leaves_out_and_unknown_keys_are_still_found(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(plain()))
    own = {"base": "base.yaml", "name": "other", "weights": {"mim": 0.5}, "init": []}
    config = load_config(JointConfig, write(tmp_path, own))
    assert (config.name, config.weights.mim, config.init) == ("other", 0.5, ())
    assert config.weights.mlm == load_config(JointConfig, JOINT).weights.mlm
    with pytest.raises(ConfigError, match="unknown key 'nim'"):
        load_config(JointConfig, write(tmp_path, own | {"weights": {"nim": 1.0}}))
