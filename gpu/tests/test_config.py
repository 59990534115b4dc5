"""The YAML configuration: what is accepted and what each mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flava_gpu.training.config import ConfigError, as_plain, load_config

SHIPPED = Path(__file__).parents[1] / "configs" / "emoji-v0.yaml"


def write(tmp_path: Path, raw: dict) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_the_shipped_config_survives_a_round_trip(tmp_path: Path) -> None:
    config = load_config(SHIPPED)
    assert load_config(write(tmp_path, as_plain(config))) == config


def test_the_shipped_config_meets_the_recipe_limits() -> None:
    config = load_config(SHIPPED)
    assert config.optimization.updates + config.fusion.updates >= 3000
    assert config.optimization.warmup_updates > 0


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    raw = as_plain(load_config(SHIPPED))
    raw["model"]["hiden_size"] = 1
    with pytest.raises(ConfigError, match="unknown key 'hiden_size'"):
        load_config(write(tmp_path, raw))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    raw = as_plain(load_config(SHIPPED))
    del raw["optimization"]["betas"]
    with pytest.raises(ConfigError, match="missing key 'betas'"):
        load_config(write(tmp_path, raw))


@pytest.mark.parametrize(("key", "value"), [("seed", "zero"), ("seed", True), ("seed", 1.5), ("name", 3)])
def test_a_wrong_type_is_named(tmp_path: Path, key: str, value: object) -> None:
    raw = as_plain(load_config(SHIPPED))
    raw[key] = value
    with pytest.raises(ConfigError, match=key):
        load_config(write(tmp_path, raw))
