"""The text and joint stages as their users run them: from start to checkpoint, through a kill, and into each other."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining

from flava_gpu.codebook.folder import load_codebook
from flava_gpu.codebook.tokens import tokenize
from flava_gpu.distributed import Ranks
from flava_gpu.joint_config import JointConfig
from flava_gpu.joint_objectives import FlavaObjectives
from flava_gpu.shards.faults import ShardError
from flava_gpu.shards.index import index_shards
from flava_gpu.shards.write import training_samples
from flava_gpu.shards.writer import SampleFiles, write_shards
from flava_gpu.training.config import ConfigError, load_config
from flava_gpu.training.curves import read_curves
from flava_gpu.training.errors import TrainingError
from flava_gpu.vocabulary import train_tokenizer
from tests.tiny import (
    GPU,
    joint_batches,
    joint_config,
    run_stage,
    stage_command,
    text_config,
    training_texts,
    write_codebook,
    write_config,
    write_data,
)

ENCODERS = ("flava.text_model.", "flava.image_model.", "flava.image_projection", "flava.text_projection")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, and the runs `text` and `joint` at their ends."""
    folder = tmp_path_factory.mktemp("finished")
    data, codebook = write_data(folder / "data"), write_codebook(folder / "codebook")
    run_stage("text", write_config(folder / "text.yaml", text_config(data)), folder / "runs")
    config = joint_config(data, folder / "runs" / "text", codebook)
    run_stage("joint", write_config(folder / "joint.yaml", config), folder / "runs")
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def test_a_run_leaves_a_checkpoint_that_transformers_loads_whole(finished: Path) -> None:
    loaded: Any = FlavaForPreTraining.from_pretrained(finished / "runs" / "joint", output_loading_info=True)
    model, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert {tensor.dtype for tensor in weights(finished / "runs" / "joint").values()} == {torch.float16}


def test_a_run_records_its_stages_heads_configuration_versions_data_and_metrics(finished: Path) -> None:
    record = json.loads((finished / "runs" / "joint" / "training.json").read_text())
    assert [stage["stage"] for stage in record["stages"]] == ["text", "joint"]
    assert record["heads"] == ["contrastive", "itm", "mmm_text", "mmm_image", "mim", "mlm"]
    assert record["data_manifest"] == "tiny"
    assert record["config"]["seed"] == 0
    assert record["stages"][0]["config"]["mask_probability"] == 0.15
    assert set(record["versions"]) == {"python", "torch", "transformers", "tokenizers"}
    assert set(record["metrics"]) == {"dev_style", "dev_concepts", "dev_style_fusion"}


def test_a_run_leaves_curves_of_every_loss_as_json_tensorboard_and_png(finished: Path) -> None:
    run = finished / "runs" / "joint"
    keys = {key for point in read_curves(run) for key in point}
    assert {"contrastive", "mlm", "mim", "mmm_text", "mmm_image", "itm", "dev_style", "dev_concepts"} <= keys
    assert list((run / "tensorboard").glob("events.out.*"))
    assert (run / "curves.png").stat().st_size > 1000


def test_the_joint_stage_begins_with_the_text_stage_s_encoder(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = joint_config(finished / "data", finished / "runs" / "text", finished / "codebook", updates=1)
    raw["init"][0]["freeze"] = ["flava.text_model."]
    raw["optimization"]["ema_decay"] = 0.0
    with caplog.at_level(logging.INFO):
        run_stage("joint", write_config(tmp_path / "c.yaml", raw), tmp_path / "runs")
    began, text = weights(tmp_path / "runs" / "joint"), weights(finished / "runs" / "text")
    names = [name for name in text if name.startswith("flava.text_model.")]
    assert all(torch.equal(began[name], text[name]) for name in names)
    assert "tensors loaded" in caplog.text
    assert "flava.text_model: " in caplog.text


def test_frozen_encoders_stay_while_the_multimodal_encoder_learns(finished: Path, tmp_path: Path) -> None:
    joint = finished / "runs" / "joint"
    raw = joint_config(finished / "data", joint, finished / "codebook", updates=4)
    raw["init"] = [{"from": str(joint), "freeze": [*ENCODERS, "flava.logit_scale"]}]
    raw["datasets"] = {"pairs": 1.0, "images": 0.0, "texts": 0.0}
    raw["weights"] |= {"contrastive": 0.0, "mim": 0.0, "mlm": 0.0}
    raw["batches"]["multimodal_every"] = 1
    run_stage("joint", write_config(tmp_path / "c.yaml", raw), tmp_path / "runs")
    before, after = weights(joint), weights(tmp_path / "runs" / "joint")
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert any(name.startswith("flava.multimodal_model.") for name in changed)
    assert not [name for name in changed if name.startswith(ENCODERS)]


@pytest.mark.parametrize("stage", ["text", "joint"])
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, stage: str
) -> None:
    (tmp_path / "runs" / stage).mkdir(parents=True)
    # Token ids differ from one training of a tokenizer to the next, so runs that are compared share theirs.
    tokenizer = (finished / "runs" / stage / "tokenizer.json").read_bytes()
    (tmp_path / "runs" / stage / "tokenizer.json").write_bytes(tokenizer)
    config = finished / f"{stage}.yaml"
    checkpoint = tmp_path / "runs" / stage / "checkpoints" / "step-0000004"
    output = subprocess.DEVNULL
    process = subprocess.Popen(stage_command(stage, config, tmp_path / "runs"), cwd=GPU, stdout=output, stderr=output)
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (tmp_path / "runs" / stage / "model.safetensors").exists()
    with caplog.at_level(logging.INFO):
        run_stage(stage, config, tmp_path / "runs")
    assert "resumed at update" in caplog.text
    expected, resumed = weights(finished / "runs" / stage), weights(tmp_path / "runs" / stage)
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_a_run_that_has_ended_is_left_as_it_was(finished: Path) -> None:
    before = weights(finished / "runs" / "text")
    run_stage("text", finished / "text.yaml", finished / "runs")
    after = weights(finished / "runs" / "text")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_on_other_data_is_refused(finished: Path) -> None:
    manifest = finished / "data" / "manifest.json"
    manifest.write_text(json.dumps({"training_hash": "other"}))
    try:
        with pytest.raises(TrainingError, match="began with other data"):
            run_stage("text", finished / "text.yaml", finished / "runs")
    finally:
        manifest.write_text(json.dumps({"training_hash": "tiny"}))


def test_a_run_with_another_configuration_is_refused(finished: Path, tmp_path: Path) -> None:
    raw = text_config(finished / "data")
    raw["optimization"]["learning_rate"] *= 2
    with pytest.raises(TrainingError, match="another configuration"):
        run_stage("text", write_config(tmp_path / "c.yaml", raw), finished / "runs")


def test_a_loss_that_is_no_number_ends_the_run_with_a_report_that_names_its_batch(
    finished: Path, tmp_path: Path
) -> None:
    raw = text_config(finished / "data")
    raw["optimization"] |= {"learning_rate": 1e30, "gradient_clip": 1e30, "precision": "f32"}
    with pytest.raises(TrainingError, match="not finite") as caught:
        run_stage("text", write_config(tmp_path / "c.yaml", raw), tmp_path / "runs")
    assert caught.value.code == "loss_not_finite"
    report = json.loads((tmp_path / "runs" / "text" / "crash.json").read_text())
    assert report["update"] > 0
    assert len(report["items"]) == 8
    assert "not finite" in report["error"]
    assert not (tmp_path / "runs" / "text" / "model.safetensors").exists()


def test_an_update_of_two_parts_has_the_mean_of_their_gradients(finished: Path, tmp_path: Path) -> None:
    raw = joint_config(finished / "data", finished / "runs" / "text", finished / "codebook", updates=1)
    raw |= {"datasets": {"pairs": 1.0, "images": 0.0, "texts": 0.0}, "init": []}
    raw["batches"]["accumulation"] = 2
    raw["optimization"] |= {"precision": "f32"}
    raw["logging"]["curve_every"] = 1
    path = write_config(tmp_path / "c.yaml", raw)
    run_stage("joint", path, tmp_path / "runs")
    config = load_config(JointConfig, path)
    torch.manual_seed(config.seed)
    model = FlavaForPreTraining(config.model.to_flava())
    tokenizer = Tokenizer.from_file(str(tmp_path / "runs" / "joint" / "tokenizer.json"))
    batches = joint_batches(config, tokenizer)
    objectives = FlavaObjectives(model, config.weights, Ranks())
    parts = [objectives(batches.draw(0, part).batch) for part in range(2)]
    (torch.stack([losses["loss"] for losses in parts]).sum() / 2).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    first = next(point for point in read_curves(tmp_path / "runs" / "joint") if "contrastive" in point)
    assert first["gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert first["contrastive"] == pytest.approx(sum(losses["contrastive"].item() for losses in parts) / 2, rel=1e-4)
    assert parts[0]["contrastive"].item() != pytest.approx(parts[1]["contrastive"].item(), rel=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, precision: str
) -> None:
    raw = text_config(finished / "data")
    raw["optimization"]["precision"] = precision
    config = write_config(tmp_path / "c.yaml", raw)
    run_stage("text", config, tmp_path / "runs")
    run = tmp_path / "runs" / "text"
    whole = weights(run)
    (run / "model.safetensors").unlink()
    (run / "checkpoints" / "step-0000006" / "state.json").write_text("{")
    run_stage("text", config, tmp_path / "runs")
    assert "going back to the one before" in caplog.text
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(run).items())
    for state in (run / "checkpoints").glob("*/state.json"):
        state.unlink()
    with pytest.raises(TrainingError, match=r"state\.json"):
        run_stage("text", config, tmp_path / "runs")


def test_a_run_whose_codebook_was_trained_again_is_refused(finished: Path, tmp_path: Path) -> None:
    codebook = shutil.copytree(finished / "codebook", tmp_path / "codebook")
    raw = joint_config(finished / "data", finished / "runs" / "text", codebook, updates=1)
    config = write_config(tmp_path / "c.yaml", raw)
    run_stage("joint", config, tmp_path / "runs")
    raw["logging"]["curve_every"] = 1  # says nothing about what is computed
    run_stage("joint", write_config(config, raw), tmp_path / "runs")
    tensors = load_file(codebook / "model.safetensors")
    save_file({name: tensor + 0.1 for name, tensor in tensors.items()}, codebook / "model.safetensors")
    with pytest.raises(TrainingError, match="began with other data"):
        run_stage("joint", config, tmp_path / "runs")


def test_a_joint_checkpoint_holds_the_codebook_whose_tokens_its_heads_name(finished: Path) -> None:
    kept, given = (load_codebook(finished / folder) for folder in ("runs/joint", "codebook"))
    pixels = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(tokenize(kept, pixels), tokenize(given, pixels))


def test_a_run_whose_vocabulary_was_trained_again_is_refused_and_before_its_first_checkpoint_takes_the_new_one(
    finished: Path, tmp_path: Path
) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    raw = joint_config(finished / "data", finished / "runs" / "text", finished / "codebook", updates=1)
    raw["tokenizer"] = str(tokenizer)
    config = write_config(tmp_path / "c.yaml", raw)
    with pytest.raises(ConfigError, match=r"tokenizer: .*tokenizer\.json is missing"):
        run_stage("joint", config, tmp_path / "runs")
    texts = training_texts(finished / "data")
    train_tokenizer(texts, 128).save(str(tokenizer))
    with pytest.raises(ConfigError, match=r"model\.vocab_size"):
        run_stage("joint", config, tmp_path / "runs")
    train_tokenizer(texts, 64).save(str(tokenizer))
    run_stage("joint", config, tmp_path / "runs")
    train_tokenizer(texts, 60).save(str(tokenizer))
    with pytest.raises(TrainingError, match="began with other data"):
        run_stage("joint", config, tmp_path / "runs")


def test_pairs_may_come_from_shards_and_a_run_on_them_resumes_to_the_same_bits(finished: Path, tmp_path: Path) -> None:
    write_shards(training_samples(finished / "data", 0), tmp_path / "shards", shard_samples=20)
    index_shards(tmp_path / "shards")
    raw = joint_config(finished / "data", finished / "runs" / "text", finished / "codebook", updates=10)
    raw["shards"] = {"folder": str(tmp_path / "shards"), "on_bad": "error", "workers": 0}
    raw["batches"]["itm_hard"] = 0.0
    config = write_config(tmp_path / "c.yaml", raw)
    run_stage("joint", config, tmp_path / "runs")
    run = tmp_path / "runs" / "joint"
    whole = weights(run)
    shutil.rmtree(run / "checkpoints" / "step-0000010")  # back to update 8
    run_stage("joint", config, tmp_path / "runs")
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(run).items())
    shutil.rmtree(tmp_path / "shards")
    write_shards(training_samples(finished / "data", 0), tmp_path / "shards", shard_samples=10)
    index_shards(tmp_path / "shards")
    with pytest.raises(TrainingError, match="other data"):
        run_stage("joint", config, tmp_path / "runs")


def test_an_unreadable_picture_of_a_shard_ends_the_run_with_its_shard_and_key(finished: Path, tmp_path: Path) -> None:
    samples = [
        SampleFiles(f"{number:03}", {"png": b"no picture", "txt": f"thing {number}".encode()}) for number in range(40)
    ]
    write_shards(iter(samples), tmp_path / "shards", shard_samples=20)
    index_shards(tmp_path / "shards")
    raw = joint_config(finished / "data", finished / "runs" / "text", finished / "codebook", updates=2)
    raw["shards"] = {"folder": str(tmp_path / "shards"), "on_bad": "error", "workers": 0}
    raw["batches"]["itm_hard"] = 0.0
    raw["datasets"] = {"pairs": 1.0, "images": 0.0, "texts": 0.0}
    with pytest.raises(ShardError, match=r"the picture is none of"):
        run_stage("joint", write_config(tmp_path / "c.yaml", raw), tmp_path / "runs")
    assert "ShardError: " in json.loads((tmp_path / "runs" / "joint" / "crash.json").read_text())["error"]


NO_CODEBOOK = {"codebook": None}


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (None, NO_CODEBOOK, r"datasets\.images: masked patches need a codebook"),
        ("weights", {"mlm": 0.0}, r"datasets\.texts: drawn without a weight"),
        ("weights", {"contrastive": 0.0}, r"batches\.multimodal_every: "),
        ("optimization", {"batch_size": 64}, r"optimization\.batch_size: 64 is more than the 14 concepts"),
        ("optimization", {"batch_size": 14}, r"optimization\.batch_size: 14 is more than the 13 concepts"),
        ("batches", {"texts": 4096}, r"batches\.texts: 4096 is more than"),
        ("model", {"image_vocab_size": 4}, r"model\.image_vocab_size: .* has 8 codes"),
        ("model", {"vocab_size": 32}, r"model\.vocab_size: .* has 64 pieces"),
    ],
)
def test_a_joint_configuration_that_would_fail_later_names_the_key(
    finished: Path, tmp_path: Path, part: str | None, change: dict[str, Any], message: str
) -> None:
    raw = joint_config(finished / "data", finished / "runs" / "text", finished / "codebook")
    (raw if part is None else raw[part]).update(change)
    with pytest.raises(ConfigError, match=message):
        run_stage("joint", write_config(tmp_path / "c.yaml", raw), tmp_path / "runs")


def test_a_stage_of_one_process_refuses_torchrun(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="runs in one process"):
        run_stage("text", finished / "text.yaml", finished / "runs")


def test_a_contrastive_loss_that_stays_at_chance_is_warned_of(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = joint_config(finished / "data", finished / "runs" / "text", finished / "codebook", updates=4)
    raw["datasets"] = {"pairs": 1.0, "images": 0.0, "texts": 0.0}
    raw["optimization"] |= {"warmup_updates": 1, "learning_rate": 1e-12}
    raw["logging"]["curve_every"] = 1
    run_stage("joint", write_config(tmp_path / "c.yaml", raw), tmp_path / "runs")
    assert caplog.text.count("contrastive loss sits at ln(batch)") == 1  # not before three times the warm-up


def test_an_init_that_fits_nothing_names_the_reason(finished: Path, tmp_path: Path) -> None:
    raw = joint_config(finished / "data", finished / "runs" / "text", finished / "codebook")
    raw["init"][0]["include"] = ["flava.nothing."]
    with pytest.raises(ConfigError, match=r"no tensor of this model begins with 'flava\.nothing\.'"):
        run_stage("joint", write_config(tmp_path / "c.yaml", raw), tmp_path / "runs")
    raw["init"][0] = {"from": str(tmp_path / "nowhere")}
    with pytest.raises(ConfigError, match="train that stage first"):
        run_stage("joint", write_config(tmp_path / "c.yaml", raw), tmp_path / "runs")


def test_a_run_in_fp16_scales_its_gradients_and_learns_as_in_f32(finished: Path, tmp_path: Path) -> None:
    raw = text_config(finished / "data", updates=40)
    raw["optimization"] |= {"ema_decay": 0.0, "weight_decay": 0.0}
    losses: dict[str, float] = {}
    for precision in ("f32", "fp16"):
        raw["name"], raw["optimization"]["precision"] = precision, precision
        folder = tmp_path / "runs" / precision
        folder.mkdir(parents=True)
        (folder / "tokenizer.json").write_bytes((finished / "runs" / "text" / "tokenizer.json").read_bytes())
        run_stage("text", write_config(tmp_path / f"{precision}.yaml", raw), tmp_path / "runs")
        losses[precision] = json.loads((folder / "training.json").read_text())["metrics"]["mlm"]
    assert losses["f32"] < 4.0  # ln(64) is 4.16
    assert losses["fp16"] == pytest.approx(losses["f32"], abs=0.05)
