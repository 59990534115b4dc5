"""The ablation table: each row's configuration finds what it rests on, and rows of several configurations never share a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flava_gpu.ablations import CONFIGS, ROWS, STAGES, Row, format_table, is_trained, read_result, write_run_config
from flava_gpu.joint_config import JointConfig
from flava_gpu.training.config import as_plain, load_config
from flava_gpu.training.errors import TrainingError
from tests.tiny import GPU, write_config

PROJECT = GPU.parent


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


def row_config(row: Row) -> JointConfig:
    return load_config(JointConfig, CONFIGS / f"{row.config}.yaml")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.config)
def test_a_row_trains_first_what_its_configuration_rests_on(row: Row) -> None:
    config = row_config(row)
    rests_on = [config.tokenizer and config.tokenizer.parent, config.codebook, *(init.source for init in config.init)]
    needed = {load_config(STAGES[stage], CONFIGS / f"{name}.yaml").name for stage, name in map(split_need, row.needs)}
    assert {folder.relative_to("runs").as_posix() for folder in rests_on if folder} <= needed


def split_need(need: str) -> tuple[str, str]:
    stage, name = need.split(":")
    return stage, name


def test_rows_share_their_geometry_and_differ_in_what_they_are_named_for() -> None:
    configs = [row_config(row) for row in ROWS]
    assert len({config.model for config in configs}) == 1
    assert len({str(as_plain(config) | {"name": ""}) for config in configs}) == len(ROWS) - 1  # one runs on 2 processes
    pairs = {round(config.optimization.updates * config.datasets.pairs) for config in configs}
    assert len(pairs) == 1  # every row sees as many batches of pairs


def test_a_run_of_another_configuration_is_not_taken_for_the_row(tmp_path: Path) -> None:
    path = CONFIGS / "contrastive.yaml"
    assert not is_trained(JointConfig, path, tmp_path)
    record = {"config": as_plain(load_config(JointConfig, path))}
    (tmp_path / "training.json").write_text(json.dumps(record))
    assert is_trained(JointConfig, path, tmp_path)
    record["config"]["optimization"]["learning_rate"] *= 2
    (tmp_path / "training.json").write_text(json.dumps(record))
    with pytest.raises(TrainingError, match=r"another contrastive\.yaml"):
        is_trained(JointConfig, path, tmp_path)


def test_a_row_s_result_is_the_mean_of_its_seeds_and_has_no_score_of_an_untrained_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flava_gpu.ablations.RUNS", tmp_path)
    for seed, recall in enumerate((20.0, 30.0)):
        folder = tmp_path / "ablations" / f"contrastive-seed{seed}"
        folder.mkdir(parents=True)
        retrieval = {"i2t_r1": recall, "i2t_r5": 50.0, "t2i_r1": 20.0, "t2i_r5": 50.0}
        metrics = {"dev_style": retrieval, "dev_concepts": retrieval, "dev_style_fusion": {"itm_accuracy": 49.0}}
        config = as_plain(load_config(JointConfig, write_run_config(ROWS[0], seed)))
        record = {"heads": ["contrastive"], "metrics": metrics, "stages": [{"seconds": 60}], "config": config}
        (folder / "training.json").write_text(json.dumps(record))
    result = read_result(ROWS[0], pictures=100)
    assert result is not None
    assert result.metrics["dev_style"]["i2t_r1"] == 25.0
    assert result.firsts == (20.0, 30.0)
    (line,) = [line for line in format_table([result]).splitlines() if line.startswith("| contrastive only")]
    assert "25.0 (17.5 to 34.3; 20.0, 30.0)" in line  # Wilson's interval of 25 in 100
    assert "49.0" not in line
    assert read_result(ROWS[1], pictures=100) is None
    changed = {"base": str((CONFIGS / "contrastive.yaml").resolve()), "optimization": {"updates": 1501}}
    write_config(tmp_path / "contrastive.yaml", changed)
    monkeypatch.setattr("flava_gpu.ablations.CONFIGS", tmp_path)
    with pytest.raises(TrainingError, match="another config"):
        read_result(ROWS[0], pictures=100)
