"""How the worker drives a training process, over real HTTP and with real processes; the trainer itself is a small fake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flava_gpu.worker import transfer
from flava_gpu.worker.broker_client import BrokerClient
from flava_gpu.worker.catalog import ModelCatalog
from flava_gpu.worker.contract import REPOSITORY
from flava_gpu.worker.lanes import LaneSettings, LongLane
from flava_gpu.worker.messages import WorkerDescription
from flava_gpu.worker.model_store import ModelStore
from flava_gpu.worker.training import TrainingRun, end, start, training_command
from flava_gpu.worker.transfer import new_http
from tests.worker_gateway import TOKEN, Call, Gateway

FAKE = Path(__file__).parent / "fake_trainer.py"


def no_load(folder: Path, heads: Any) -> Any:
    raise AssertionError("training loads its model in its own process")


class Lane:
    def __init__(self, workdir: Path) -> None:
        self.gateway = Gateway()
        self.stopping = threading.Event()
        client = BrokerClient(self.gateway.url, TOKEN, self.gateway.contract, self.stopping)
        worker = WorkerDescription("w", "1", "cpu", 0, 100, ("fine_tuning",), ())
        settings = LaneSettings(
            client, new_http(), self.gateway.contract, worker, frozenset, 3000, 2000, workdir, self.stopping
        )
        store: ModelStore[Any] = ModelStore(ModelCatalog(REPOSITORY / "models"), no_load, 1, workdir / "models")
        run = TrainingRun(
            store, "cpu", 0, workdir, command=lambda arguments, _: [sys.executable, str(FAKE), *arguments]
        )
        self.lane = LongLane(settings, {"fine_tuning": run})
        self.thread = threading.Thread(target=self.lane.run)
        self.thread.start()

    def add(self, method: str, **more: Any) -> str:
        given = {
            "method": {"type": method, "hyperparameters": {}},
            "seed": 0,
            "training": "training.jsonl",
            "validation": None,
            "media": [],
        }
        objects = {"training.jsonl": b"rows", **more.pop("objects", {})}
        return self.gateway.add("fine_tuning", given, objects, **more)

    def close(self) -> None:
        self.stopping.set()
        self.lane.stop()
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()
        self.gateway.stop()


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    lane = Lane(tmp_path)
    yield lane
    lane.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if not Path("/proc").exists():
        return True
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except (FileNotFoundError, ProcessLookupError):
        return False  # it went between the two looks


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < until, "the training process outlives its worker"
        time.sleep(0.02)


def test_a_run_that_ends_well_brings_its_events_checkpoint_model_and_results(lane: Lane) -> None:
    job = lane.add("supervised")
    lane.gateway.wait_for(job, "succeeded", 30)
    told = lane.gateway.of("complete", job)[0]
    assert told["result"] == {
        "model_objects": ["model/config.json"],
        "heads": ["classification"],
        "labels": ["a"],
        "metrics": {"valid_accuracy": 1.0},
        "trained_tokens": 7,
    }
    assert [item["name"] for item in told["outputs"]] == ["model/config.json", "results/metrics.csv"]
    assert (told["usage"]["tokens"], told["usage"]["images"]) == (7, 2)
    beats = lane.gateway.beats(job)
    events = [event for beat in beats for event in beat.get("events", [])]
    assert {"type": "log", "level": "info", "message": "data: rows"} in events
    assert {"type": "metrics", "step": 1, "values": {"train_loss": 0.25}} in events
    assert [beat["checkpoint"]["step"] for beat in beats if "checkpoint" in beat] == [1]
    assert lane.gateway.objects["checkpoint/1/state.json"] == b'{"step": 1}'


def test_a_bad_row_fails_the_job_for_good_with_its_line_and_a_crash_is_tried_again(lane: Lane) -> None:
    bad, crashed = lane.add("linear_probe"), lane.add("pretrain")
    lane.gateway.wait_for(bad, "failed", 30)
    lane.gateway.wait_for(crashed, "retry", 30)
    error = lane.gateway.of("fail", bad)[0]["error"]
    assert (error["code"], error["line"], error["param"]) == ("invalid_data", 7, "training")
    assert lane.gateway.of("fail", crashed)[0]["error"]["code"] == "training_crashed"
    assert lane.gateway.checkpoints(crashed)[-1]["step"] == 1


@pytest.mark.parametrize(
    ("asked", "outcome", "step"), [("should_pause", "paused", 99), ("should_cancel", "cancelled", 1)]
)
def test_a_pause_waits_for_the_last_checkpoint_and_a_cancellation_for_nothing(
    lane: Lane, asked: str, outcome: str, step: int
) -> None:
    job = lane.add("contrastive")
    lane.gateway.wait(lambda: any("checkpoint" in beat for beat in lane.gateway.beats(job)), 30)
    lane.gateway.answers[job] = {asked: True}
    lane.gateway.wait_for(job, outcome, 30)
    assert lane.gateway.checkpoints(job)[-1]["step"] == step


def test_a_stopping_worker_hands_training_back_with_its_last_checkpoint(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    job = lane.add("contrastive")
    lane.gateway.wait(lambda: any("checkpoint" in beat for beat in lane.gateway.beats(job)), 30)
    lane.close()
    assert lane.gateway.of("fail", job)[0]["outcome"] == "handed_back"
    assert lane.gateway.checkpoints(job)[-1]["step"] == 99
    assert list(tmp_path.glob("training-*")) == []


def test_training_goes_on_from_the_checkpoint_that_the_lease_brings(lane: Lane) -> None:
    state = lane.gateway.store("checkpoint/40/state.json", b"from step 40")
    job = lane.add("supervised", resume={"step": 40, "objects": [state], "metrics": {}})
    lane.gateway.wait_for(job, "succeeded", 30)
    messages = [event.get("message") for beat in lane.gateway.beats(job) for event in beat.get("events", [])]
    assert "from step 40" in messages


@pytest.mark.parametrize("damage", ["other", "gone"])
def test_a_checkpoint_that_cannot_be_read_is_told_by_a_code_of_its_own(
    lane: Lane, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LONGEST_PAUSE_SECONDS", 0.01)
    state = lane.gateway.store("checkpoint/40/state.json", b"from step 40")

    def break_it(call: Call) -> bool:
        if call.route != "GET checkpoint/40/state.json":
            return False
        call.answer(404 if damage == "gone" else 200, b"from step 39", {})
        return True

    lane.gateway.faults = [break_it]
    job = lane.add("supervised", resume={"step": 40, "objects": [state], "metrics": {}})
    lane.gateway.wait_for(job, "retry", 30)
    assert lane.gateway.of("fail", job)[0]["error"]["code"] == "checkpoint_unreadable"


def test_a_lost_lease_ends_the_process(lane: Lane, tmp_path: Path) -> None:
    job = lane.add("contrastive")
    pid = int(lane.gateway.wait(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 30))
    lane.gateway.answers[job] = {"is_held": False}
    wait_until_gone(pid)


def test_a_worker_killed_without_a_word_leaves_no_training_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
    script = (
        "import sys, time; from pathlib import Path; from flava_gpu.worker.training import start;"
        f"process = start({command!r}, Path({str(tmp_path)!r}));"
        "print(process.stdout.readline(), flush=True); time.sleep(60)"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    assert is_alive(pid)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    wait_until_gone(pid)


def test_the_training_process_gets_none_of_the_workers_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLAVA_WORKER_TOKEN", "FLAVA_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    process = start([sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"], tmp_path)
    assert process.stdout is not None
    told = process.stdout.readline()
    end(process)
    assert "a secret" not in told
    assert json.loads(told)["CUDA_VISIBLE_DEVICES"] == "0"


def test_several_gpus_are_torchruns() -> None:
    assert training_command(["--job", "j"], 1)[1:3] == ["-m", "flava_gpu.finetune"]
    command = training_command(["--job", "j"], 4)
    assert command[1:] == [
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"),
        *("-m", "flava_gpu.finetune", "--job", "j"),
    ]
