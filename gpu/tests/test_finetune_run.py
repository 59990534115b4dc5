"""Fine-tuning runs on a tiny model: what they leave, and that a run which is stopped or killed ends like one that was not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import FlavaForPreTraining

from flava_gpu.distributed import Ranks
from flava_gpu.finetune.batches import Batcher
from flava_gpu.finetune.head import head_states, load_head, predict
from flava_gpu.finetune.outcome import Reporter
from flava_gpu.finetune.protocol import EXIT_CRASH, CheckpointEvent, ErrorEvent, StoppedEvent, TrainingJob, parse_event
from flava_gpu.finetune.run import run
from flava_gpu.sampling import BatchOrder
from flava_gpu.training.errors import StoppedError, TrainingError
from tests.finetune_job import (
    Told,
    caption_row,
    image_row,
    make_job,
    pair_row,
    resume_point,
    rows_of,
    run_here,
    text_row,
    value_row,
)
from tests.tiny_checkpoint import write_checkpoint

GPU = Path(__file__).parents[1]
TEXTS_BESIDE = [{"text": f"a {word} in the rain"} for word in ("cat", "dog", "heart", "red cat")]
METHODS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "text": ("supervised", text_row, {}),
    "image": ("supervised", image_row, {}),
    "pair": ("supervised", pair_row, {}),
    "regression": ("supervised", value_row, {"task": "regression"}),
    "contrastive": ("contrastive", caption_row, {}),
    "pretrain": ("pretrain", caption_row, {}),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("base"))


def job_of(folder: Path, base: Path, name: str, **changed: Any) -> TrainingJob:
    method, make, hyperparameters = METHODS[name]
    training = rows_of(make, 16, 1) + (TEXTS_BESIDE if method == "pretrain" else [])
    steps = {"n_epochs": 3, "batch_size": 4, "checkpoint_every": 5, **hyperparameters}
    return make_job(folder, base, method, training, rows_of(make, 8, 2), steps, **changed)


def weights(workdir: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.name}/{name}": tensor
        for path in sorted((workdir / "model").glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("name", METHODS)
def test_a_run_stopped_and_resumed_equals_one_that_ran_through_bit_for_bit(
    tmp_path: Path, base: Path, name: str
) -> None:
    job = job_of(tmp_path, base, name)
    whole = run_here(job, tmp_path / "whole")
    first = run_here(job, tmp_path / "first", stop_after_step=6)
    assert isinstance(first.events[-1], StoppedEvent)
    point = resume_point(first.checkpoints[-1], tmp_path / "first")
    assert 6 <= point.step < 12
    assert not (tmp_path / "first" / "model").exists()
    second = run_here(replace(job, resume=point), tmp_path / "second")
    assert_same_weights(tmp_path / "whole", tmp_path / "second")
    assert second.done.metrics == whole.done.metrics
    assert second.done.trained_tokens == whole.done.trained_tokens
    assert second.done.trained_images == whole.done.trained_images == (48 if "text" not in job_inputs(name) else 0)
    assert any(
        not torch.equal(a, b) for a, b in zip(weights(tmp_path / "whole").values(), load_base(base), strict=False)
    )


def job_inputs(name: str) -> str:
    return "text" if name in ("text", "regression") else "pictures"


def load_base(base: Path) -> list[torch.Tensor]:
    return list(load_file(base / "model.safetensors").values())


@pytest.mark.parametrize("name", ["text", "pair", "regression", "contrastive"])
def test_a_finished_run_leaves_a_checkpoint_that_transformers_loads_whole(
    tmp_path: Path, base: Path, name: str
) -> None:
    told = run_here(job_of(tmp_path, base, name), tmp_path / "work")
    folder = tmp_path / "work" / told.done.model_folder
    loaded: Any = FlavaForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not loaded[1]["missing_keys"]
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float16}
    assert (folder / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert sorted(file.name for file in folder.iterdir()) == told.done.model_files
    record = json.loads((folder / "training.json").read_text())
    assert record["heads"] == told.done.heads
    assert record["metrics"] == told.done.metrics
    assert record["seed"] == 3
    assert record["data"]["training_rows"] == 16
    lines = (tmp_path / "work" / "results" / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("step,train_loss")
    assert lines[-1].split(",")[0] == "12"


def test_the_saved_head_gives_the_metrics_that_the_run_told(tmp_path: Path, base: Path) -> None:
    job = job_of(tmp_path, base, "pair")
    told = run_here(job, tmp_path / "work")
    folder = tmp_path / "work" / "model"
    model = FlavaForPreTraining.from_pretrained(folder, dtype=torch.float32).eval()
    spec, head = load_head(folder)
    assert (spec.task, spec.inputs, spec.labels) == ("classification", "pair", ["no", "yes"])
    datasets_job = replace(job, training=str(job.validation), validation=None)
    batcher = batcher_of(datasets_job, folder, tmp_path / "again", spec.max_text_length)
    batch = batcher.draw(range(8), 0)
    with torch.no_grad():
        chances = predict(spec, head, head_states(model, spec.inputs, batch.pixel_values, batch.text))
    assert spec.labels is not None
    assert chances.sum(dim=1).allclose(torch.ones(8))
    labels = [row.label for row in batcher.dataset.rows]
    right = sum(spec.labels[int(row.argmax())] == label for row, label in zip(chances, labels, strict=True))
    assert right / 8 == pytest.approx(told.done.metrics["valid_accuracy"])


def batcher_of(job: TrainingJob, folder: Path, workdir: Path, max_length: int) -> Batcher:
    """The rows of a data file that is too short to train on."""
    from flava_gpu.finetune.dataset import Dataset
    from flava_gpu.finetune.media import MediaArchives
    from flava_gpu.finetune.model_files import load_tokenizer
    from flava_gpu.finetune.pictures import Pictures
    from flava_gpu.finetune.rows import read_rows
    from flava_gpu.jsonl import Faults

    rows = read_rows(Path(job.training), "label", Faults("training_file"))
    pictures = Pictures(Path(job.training), rows, MediaArchives([], workdir), 16)
    return Batcher(Dataset(rows, "pair", pictures, []), None, load_tokenizer(folder), max_length, 0, "cpu")


def test_training_moves_only_what_the_method_trains_and_claims_only_the_heads_that_still_hold(
    tmp_path: Path, base: Path
) -> None:
    all_heads = ["contrastive", "itm", "mmm_text", "mlm"]
    expected = {
        "text": ("flava.text_model.", ["classification"]),
        "image": ("flava.image_model.", ["mlm", "classification"]),
        "contrastive": (("flava.text_", "flava.image_", "flava.logit_scale"), ["contrastive"]),
    }
    before = load_file(base / "model.safetensors")
    for name, (parts, heads) in expected.items():
        told = run_here(job_of(tmp_path / name, base, name, base_heads=all_heads), tmp_path / name / "work")
        after = load_file(tmp_path / name / "work" / "model" / "model.safetensors")
        moved = {key for key in before if not torch.equal(before[key], after[key])}
        assert moved
        assert all(key.startswith(parts) for key in moved), sorted(moved)
        assert told.done.heads == heads


def test_a_linear_probe_leaves_the_model_as_it_was(tmp_path: Path, base: Path) -> None:
    rows = rows_of(image_row, 150, 1)
    job = make_job(tmp_path, base, "linear_probe", rows, rows_of(image_row, 40, 2), base_heads=["mlm", "contrastive"])
    told = run_here(job, tmp_path / "work")
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "work" / "model" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert told.done.heads == ["mlm", "contrastive", "classification"]
    assert told.done.metrics["valid_accuracy"] > 0.4  # four colours
    assert {"l2", "held_out_accuracy", "train_loss"} <= told.done.metrics.keys()
    spec, _ = load_head(tmp_path / "work" / "model")
    assert spec.inner_size is None


def test_a_linear_probe_goes_on_from_the_features_it_had(tmp_path: Path, base: Path) -> None:
    job = make_job(tmp_path, base, "linear_probe", rows_of(text_row, 150, 1), None, {"l2": 1.0})
    whole = run_here(job, tmp_path / "whole")
    told = Told()
    asked = iter([False, True])  # once before the data, then after the first rows
    with pytest.raises(StoppedError):
        run(job, tmp_path / "first", Ranks(), Reporter(told.events.append, lambda: next(asked)), None)
    point = resume_point(told.checkpoints[0], tmp_path / "first")
    assert point.step == 64
    second = run_here(replace(job, resume=point), tmp_path / "second")
    assert_same_weights(tmp_path / "whole", tmp_path / "second")
    assert second.done.trained_tokens == whole.done.trained_tokens


def test_a_resume_from_another_run_is_refused(tmp_path: Path, base: Path) -> None:
    job = job_of(tmp_path, base, "text")
    point = resume_point(run_here(job, tmp_path / "a").checkpoints[0], tmp_path / "a")
    for changed in (replace(job, seed=4), replace(job, hyperparameters={**job.hyperparameters, "batch_size": 8})):
        with pytest.raises(TrainingError, match="other data, model or hyperparameters") as caught:
            run_here(replace(changed, resume=point), tmp_path / "b")
        assert caught.value.code == "checkpoint_mismatch"


@pytest.mark.parametrize("damage", ["optimizer.safetensors", "state.json", "cut"])
def test_a_damaged_checkpoint_is_told_as_such_and_worth_another_attempt(
    tmp_path: Path, base: Path, damage: str
) -> None:
    job = job_of(tmp_path, base, "text")
    point = resume_point(run_here(job, tmp_path / "a").checkpoints[0], tmp_path / "a")
    if damage == "cut":
        model = Path(point.folder) / "model.safetensors"
        model.write_bytes(model.read_bytes()[:-1])
    else:
        (Path(point.folder) / damage).unlink()
    with pytest.raises(TrainingError) as caught:
        run_here(replace(job, resume=point), tmp_path / "b")
    assert (caught.value.code, caught.value.exit_code) == ("checkpoint_unreadable", EXIT_CRASH)


def test_a_loss_that_is_not_finite_names_the_step_and_the_rows(tmp_path: Path, base: Path) -> None:
    job = job_of(tmp_path, base, "text")
    huge = replace(job, hyperparameters={**job.hyperparameters, "learning_rate_multiplier": 1e30})
    with pytest.raises(TrainingError, match=r"step \d+: the (loss is|gradients are) not finite; .* lines") as caught:
        run_here(huge, tmp_path / "work")
    assert caught.value.code == "loss_not_finite"
    step = int(str(caught.value).split(":")[0].removeprefix("step "))
    rows = BatchOrder(16, 4, 3, "rows").batch(step - 1)
    assert f"lines {', '.join(map(str, sorted(row + 1 for row in rows)))} of" in str(caught.value)


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*arguments: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flava_gpu.finetune.outcome.write_checkpoint", no_room)
    told = run_here(job_of(tmp_path, base, "text"), tmp_path / "work")
    assert not told.checkpoints
    assert any("no room on the disk" in warning for warning in told.warnings)
    assert told.done


def test_a_model_in_pickles_is_refused(tmp_path: Path, base: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_bytes((base / name).read_bytes())
    torch.save(load_file(base / "model.safetensors"), folder / "pytorch_model.bin")
    with pytest.raises(TrainingError) as caught:
        run_here(job_of(tmp_path, folder, "text"), tmp_path / "work")
    assert caught.value.code == "model_unusable"


# As a process


def start(job: TrainingJob, folder: Path) -> subprocess.Popen[str]:
    job.write(folder / "job.json")
    command = ["-m", "flava_gpu.finetune", "--job", str(folder / "job.json"), "--workdir", str(folder / "work")]
    return subprocess.Popen(
        [sys.executable, *command], cwd=GPU, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def first_checkpoint(process: subprocess.Popen[str]) -> CheckpointEvent:
    assert process.stdout is not None
    for line in process.stdout:
        event = parse_event(line)
        if isinstance(event, CheckpointEvent):
            return event
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_or_terminated_resumes_to_the_same_weights(
    tmp_path: Path, base: Path, how: signal.Signals
) -> None:
    job = job_of(tmp_path, base, "pair")
    job = replace(job, hyperparameters={**job.hyperparameters, "n_epochs": 25})
    run_here(job, tmp_path / "whole")
    process = start(job, tmp_path)
    event = first_checkpoint(process)
    process.send_signal(how)
    rest, _ = process.communicate(timeout=60)
    if how == signal.SIGTERM:
        assert process.returncode == 75
        told = [parse_event(line) for line in rest.splitlines()]
        event = [item for item in told if isinstance(item, CheckpointEvent)][-1]
        assert told[-1] == StoppedEvent(event.step)
    point = resume_point(event, tmp_path / "work")
    run_here(replace(job, resume=point), tmp_path / "second")
    assert_same_weights(tmp_path / "whole", tmp_path / "second")


def test_bad_data_end_a_process_with_65_and_an_error_that_names_the_line(tmp_path: Path, base: Path) -> None:
    job = job_of(tmp_path, base, "text")
    with Path(job.training).open("a") as file:
        file.write("broken\n")
    process = start(job, tmp_path)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 65
    error = parse_event(out.splitlines()[-1])
    assert isinstance(error, ErrorEvent)
    assert (error.code, error.param, error.line, error.exit_code) == ("invalid_data", "training_file", 17, 65)


def test_the_stuck_warning_and_the_plan_are_told(tmp_path: Path, base: Path) -> None:
    job = job_of(tmp_path, base, "contrastive")
    slow = {**job.hyperparameters, "learning_rate_multiplier": 1e-9, "n_epochs": 5}
    told: Told = run_here(replace(job, hyperparameters=slow), tmp_path / "work")
    assert any("sits at ln(4)" in warning for warning in told.warnings)
