"""Training as its users run it: from start to checkpoint, and through a kill."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import FlavaForPreTraining

from flava_gpu.train import learning_rate
from flava_gpu.training.config import load_config
from flava_gpu.training.curves import read_curves
from tests.tiny import SHIPPED, tiny_config, write_config, write_data

GPU = Path(__file__).parents[1]
FUSION_PARTS = (
    "flava.multimodal_model.",
    "flava.image_to_mm_projection.",
    "flava.text_to_mm_projection.",
    "itm_head.",
    "mmm_text_head.",
)


def command(config: Path, runs: Path) -> list[str]:
    return [sys.executable, "-m", "flava_gpu.train", "--config", str(config), "--runs", str(runs)]


def train(config: Path, runs: Path) -> str:
    """Runs to the end and returns what the run logged."""
    return subprocess.run(command(config, runs), check=True, cwd=GPU, capture_output=True, text=True).stderr


def share_tokenizer(finished: Path, runs: Path) -> None:
    """Token ids differ from one tokenizer training to the next, so runs that are compared share theirs."""
    (runs / "tiny").mkdir(parents=True)
    shutil.copyfile(finished / "runs" / "tiny" / "tokenizer.json", runs / "tiny" / "tokenizer.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    write_data(folder / "data")
    train(write_config(folder / "c.yaml", tiny_config(folder / "data", folder / "out")), folder / "runs")
    return folder


def test_a_run_leaves_a_checkpoint_that_transformers_loads_whole(finished: Path) -> None:
    loaded: Any = FlavaForPreTraining.from_pretrained(finished / "out", output_loading_info=True)
    model, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    weights = load_file(finished / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}


def test_a_run_records_config_seed_versions_data_and_metrics(finished: Path) -> None:
    record = json.loads((finished / "out" / "training.json").read_text())
    assert record["data_manifest"] == "tiny"
    assert record["config"]["seed"] == 0
    assert set(record["versions"]) == {"python", "torch", "transformers", "tokenizers"}
    assert set(record["metrics"]) == {"dev_style", "dev_style_fusion"}
    assert (finished / "out" / "curves.png").stat().st_size > 1000
    points = read_curves(finished / "out" / "curves.jsonl")
    assert {"contrastive", "mlm", "mmm_text", "itm"} <= {key for point in points for key in point}


def test_fusion_updates_leave_both_encoders_as_they_were(finished: Path, tmp_path: Path) -> None:
    raw = tiny_config(finished / "data", tmp_path / "out")
    raw["fusion"]["updates"] = 8
    share_tokenizer(finished, tmp_path / "runs")
    train(write_config(tmp_path / "c.yaml", raw), tmp_path / "runs")
    fewer = load_file(finished / "out" / "model.safetensors")
    more = load_file(tmp_path / "out" / "model.safetensors")
    changed = {name for name in more if not torch.equal(more[name], fewer[name])}
    assert changed
    assert all(name.startswith(FUSION_PARTS) for name in changed), sorted(changed)


@pytest.mark.parametrize("checkpoint_every", [4, 12], ids=["joint", "fusion"])
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(
    finished: Path, tmp_path: Path, checkpoint_every: int
) -> None:
    raw = tiny_config(finished / "data", tmp_path / "out")
    raw["logging"]["checkpoint_every"] = checkpoint_every
    config = write_config(tmp_path / "c.yaml", raw)
    share_tokenizer(finished, tmp_path / "runs")
    state = tmp_path / "runs" / "tiny" / "state.pt"
    process = subprocess.Popen(
        command(config, tmp_path / "runs"), cwd=GPU, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not state.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (tmp_path / "out").exists()
    assert "resumed at update" in train(config, tmp_path / "runs")
    expected = load_file(finished / "out" / "model.safetensors")
    resumed = load_file(tmp_path / "out" / "model.safetensors")
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_a_resumed_run_keeps_the_token_ids_it_began_with(finished: Path) -> None:
    first = (finished / "out" / "tokenizer.json").read_bytes()
    shutil.rmtree(finished / "out")
    train(finished / "c.yaml", finished / "runs")
    assert (finished / "out" / "tokenizer.json").read_bytes() == first


def test_a_run_on_other_data_is_refused(finished: Path) -> None:
    manifest = finished / "data" / "manifest.json"
    manifest.write_text(json.dumps({"hash": "other"}))
    try:
        result = subprocess.run(
            command(finished / "c.yaml", finished / "runs"), cwd=GPU, capture_output=True, text=True
        )
    finally:
        manifest.write_text(json.dumps({"hash": "tiny"}))
    assert result.returncode != 0
    assert "started with other data" in result.stderr


def test_a_run_with_another_configuration_is_refused(finished: Path, tmp_path: Path) -> None:
    raw = tiny_config(finished / "data", finished / "out")
    raw["optimization"]["learning_rate"] *= 2
    config = write_config(tmp_path / "c.yaml", raw)
    result = subprocess.run(command(config, finished / "runs"), cwd=GPU, capture_output=True, text=True)
    assert result.returncode != 0
    assert "another configuration" in result.stderr


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    config = load_config(SHIPPED)
    peak, updates = config.optimization.learning_rate, config.optimization.updates
    rates = [learning_rate(update, config) for update in range(updates)]
    fusion = [learning_rate(updates + update, config) for update in range(config.fusion.updates)]
    assert max(fusion) == pytest.approx(config.fusion.learning_rate, rel=0.02)
    assert fusion[-1] < config.fusion.learning_rate * 1e-4
    assert rates[0] == pytest.approx(peak / config.optimization.warmup_updates)
    assert max(rates) == pytest.approx(peak)
    assert rates.index(max(rates)) <= config.optimization.warmup_updates
    assert rates[-1] < peak * 1e-5
