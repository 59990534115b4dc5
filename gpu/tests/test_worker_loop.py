"""The worker's loop over real HTTP against a gateway that misbehaves; the work itself is a small fake, so no torch is here."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flava_gpu.worker.broker_client import BrokerClient, FatalRefusalError
from flava_gpu.worker.contract import MAX_INLINE_BYTES
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.job import JobError, JobResult
from flava_gpu.worker.lanes import InteractiveLane, Lane, LaneSettings, LongLane
from flava_gpu.worker.messages import Checkpoint, JobObject, Lease, ModelRef, WorkerDescription, WorkerModel
from flava_gpu.worker.transfer import CHUNK_BYTES, Transfer, new_http
from tests.worker_gateway import TOKEN, Call, Gateway

MATCH = {"images": ["aGk="], "texts": ["x"], "pairs": [[0, 0]]}
BATCH = {"endpoint": "/v1/embeddings", "model": "flava-emoji", "input": "input.jsonl", "space": None}
DONE = {"request_counts": {"total": 1, "completed": 1, "failed": 0}}


class Bench:
    """Lanes in threads, one gateway, and an end to both."""

    def __init__(self, workdir: Path) -> None:
        self.gateway = Gateway()
        self.stopping = threading.Event()
        self.workdir = workdir
        self.lanes: list[tuple[Lane, threading.Thread]] = []
        self.refusals: list[FatalRefusalError] = []

    def settings(self, kinds: tuple[str, ...], token: str = TOKEN) -> LaneSettings:
        client = BrokerClient(self.gateway.url, token, self.gateway.contract, self.stopping)
        worker = WorkerDescription("w", "1", "cpu", 0, 100, kinds, (WorkerModel("flava-emoji", ("itm",)),))
        return LaneSettings(
            client, new_http(), self.gateway.contract, worker, frozenset, 3000, 2000, self.workdir, self.stopping
        )

    def run(self, lane: Lane) -> threading.Thread:
        def until_end() -> None:
            try:
                lane.run()
            except FatalRefusalError as error:
                self.refusals.append(error)

        thread = threading.Thread(target=until_end)
        self.lanes.append((lane, thread))
        thread.start()
        return thread

    def interactive(self, run: Any = None, max_jobs: int = 8) -> threading.Thread:
        settings = self.settings(("multimodal.match", "multimodal.embeddings"))
        return self.run(InteractiveLane(settings, run or score_each, max_jobs))

    def long(self, run: Callable[..., JobResult]) -> LongLane:
        lane = LongLane(self.settings(("batch",)), {"batch": run})
        self.run(lane)
        return lane

    def stop(self) -> None:
        self.stopping.set()
        for lane, _ in self.lanes:
            lane.stop()

    def close(self) -> None:
        self.stop()
        for _, thread in self.lanes:
            thread.join(timeout=20)
            assert not thread.is_alive()
        self.gateway.stop()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def score_each(kind: str, model: ModelRef, inputs: Sequence[Any], fetch: Any) -> list[JobResult | JobError]:
    return [JobResult({"scores": [0.5] * len(one["pairs"])}) for one in inputs]


def until_stopped(held: HeldJob) -> None:
    """What a long job does: steps, and a look at what is asked between them."""
    while True:
        held.check()
        with held.changed:
            held.changed.wait(0.05)


def times(count: int, route: str, break_it: Callable[[Call], None]) -> Callable[[Call], bool]:
    """A fault for the first `count` requests of `route`."""
    left = [count]

    def fault(call: Call) -> bool:
        if call.route != route or left[0] == 0:
            return False
        left[0] -= 1
        break_it(call)
        return True

    return fault


def test_jobs_that_wait_together_are_done_in_one_run_and_completed_each_once(bench: Bench) -> None:
    runs: list[int] = []

    def run(kind: str, model: ModelRef, inputs: Sequence[Any], fetch: Any) -> list[JobResult | JobError]:
        runs.append(len(inputs))
        return score_each(kind, model, inputs, fetch)

    jobs = [bench.gateway.add("multimodal.match", MATCH) for _ in range(5)]
    bench.interactive(run)
    for job in jobs:
        bench.gateway.wait_for(job, "succeeded")
    assert runs == [5]
    assert [len(bench.gateway.of("complete", job)) for job in jobs] == [1] * 5
    assert bench.gateway.of("complete", jobs[0])[0]["result"] == {"scores": [0.5]}


def test_a_job_that_breaks_the_run_it_shares_fails_alone(bench: Bench) -> None:
    def run(kind: str, model: ModelRef, inputs: Sequence[Any], fetch: Any) -> list[JobResult | JobError]:
        if any("poison" in one["texts"] for one in inputs):
            raise RuntimeError("boom, with a secret in it")
        return score_each(kind, model, inputs, fetch)

    good = [bench.gateway.add("multimodal.match", MATCH) for _ in range(3)]
    poison = bench.gateway.add("multimodal.match", {**MATCH, "texts": ["poison"]})
    good.append(bench.gateway.add("multimodal.match", MATCH))
    bench.interactive(run)
    for job in good:
        bench.gateway.wait_for(job, "succeeded")
    bench.gateway.wait_for(poison, "retry")
    error = bench.gateway.of("fail", poison)[0]["error"]
    assert error["code"] == "worker_error"
    assert "secret" not in error["message"]


def test_an_input_that_does_not_keep_to_the_contract_fails_for_good(bench: Bench) -> None:
    job = bench.gateway.add("multimodal.match", {**MATCH, "pairs": []})
    bench.interactive()
    bench.gateway.wait_for(job, "failed")
    assert bench.gateway.of("fail", job)[0]["error"]["code"] == "invalid_input"


def test_a_long_result_travels_as_an_object_and_a_long_input_came_as_one(bench: Bench) -> None:
    texts = ["x" * 1000] * 2
    given = json.dumps({**MATCH, "texts": texts}).encode()
    item = {"name": "input.json", "bytes": len(given), "sha256": hashlib.sha256(given).hexdigest()}
    bench.gateway.objects["input.json"] = given

    def run(kind: str, model: ModelRef, inputs: Sequence[Any], fetch: Any) -> list[JobResult | JobError]:
        assert inputs[0]["texts"] == texts
        return [JobResult({"scores": [1 / 3] * (MAX_INLINE_BYTES // 10)})]

    job = bench.gateway.add("multimodal.match", None, input={"object": item})
    bench.interactive(run)
    bench.gateway.wait_for(job, "succeeded")
    told = bench.gateway.of("complete", job)[0]
    written = bench.gateway.objects["result.json"]
    assert told["result"] is None
    assert told["outputs"] == [
        {"name": "result.json", "bytes": len(written), "sha256": hashlib.sha256(written).hexdigest()}
    ]
    assert len(json.loads(written)["scores"]) == MAX_INLINE_BYTES // 10


def test_a_gateway_that_is_away_is_waited_for_by_lease_and_complete(bench: Bench) -> None:
    started, go_on = threading.Event(), threading.Event()

    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Any) -> JobResult:
        started.set()
        assert go_on.wait(10)
        return JobResult(DONE)

    bench.gateway.faults = [times(2, "lease", lambda call: call.answer(503, b"", {}))]
    job = bench.gateway.add("batch", BATCH)
    bench.long(run)
    assert started.wait(10)
    bench.gateway.stop()
    go_on.set()
    threading.Event().wait(1.0)  # completes are refused by a closed port meanwhile
    assert bench.gateway.state[job] == "running"
    bench.gateway.restart()
    bench.gateway.wait_for(job, "succeeded")
    assert len(bench.gateway.of("complete", job)) == 1


def test_a_lost_answer_to_complete_is_asked_for_again(bench: Bench) -> None:
    job = bench.gateway.add("multimodal.match", MATCH)

    def take_and_cut(call: Call) -> None:
        with bench.gateway.lock:
            bench.gateway.state[job] = "succeeded"
        call.cut(length=100)

    bench.gateway.faults = [times(1, "complete", take_and_cut)]
    bench.interactive()
    bench.gateway.wait(lambda: bench.gateway.of("complete", job))
    assert bench.gateway.state[job] == "succeeded"
    assert not bench.gateway.told["fail"]


def test_a_late_complete_is_refused_and_the_worker_goes_on_with_the_next_job(bench: Bench) -> None:
    first = bench.gateway.add("multimodal.match", MATCH)

    def run(kind: str, model: ModelRef, inputs: Sequence[Any], fetch: Any) -> list[JobResult | JobError]:
        with bench.gateway.lock:  # somebody else has got the job while this worker was at it
            bench.gateway.state[first] = "elsewhere" if bench.gateway.state[first] == "running" else "kept"
        return score_each(kind, model, inputs, fetch)

    bench.interactive(run, max_jobs=1)
    bench.gateway.wait(lambda: bench.gateway.of("complete", first))
    second = bench.gateway.add("multimodal.match", MATCH)
    bench.gateway.wait_for(second, "succeeded")
    assert bench.gateway.state[first] in ("elsewhere", "kept")
    assert not bench.gateway.told["fail"]


def test_a_long_job_whose_lease_is_lost_stops_and_tells_nothing_more(bench: Bench) -> None:
    ended = threading.Event()

    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Any) -> JobResult:
        try:
            until_stopped(held)
        finally:
            ended.set()
        raise AssertionError

    job = bench.gateway.add("batch", BATCH)
    bench.gateway.answers[job] = {"is_held": False}
    bench.long(run)
    assert ended.wait(10)
    bench.close()
    assert not bench.gateway.of("complete", job)
    assert not bench.gateway.of("fail", job)


@pytest.mark.parametrize(("asked", "outcome"), [("should_cancel", "cancelled"), ("should_pause", "paused")])
def test_cancel_and_pause_come_down_with_the_heartbeat_and_a_checkpoint_goes_up(
    bench: Bench, asked: str, outcome: str
) -> None:
    kept = Checkpoint(3, (JobObject("parts/a", 1, "0" * 64),), {"lines": 3})

    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Callable[[], None]) -> JobResult:
        held.announce(kept)
        flush()
        until_stopped(held)
        raise AssertionError

    job = bench.gateway.add("batch", BATCH)
    bench.long(run)
    bench.gateway.wait(lambda: any("checkpoint" in beat for beat in bench.gateway.beats(job)))
    bench.gateway.answers[job] = {asked: True}
    bench.gateway.wait_for(job, outcome)
    told = bench.gateway.of("fail", job)[0]
    assert told["error"] is None
    assert told["checkpoint"]["step"] == 3


def test_sigterm_hands_a_long_job_back_and_finishes_an_interactive_one(bench: Bench) -> None:
    running, may_end = threading.Event(), threading.Event()

    def run_long(held: HeldJob, given: Any, transfer: Transfer, flush: Any) -> JobResult:
        until_stopped(held)
        raise AssertionError

    def run_slowly(kind: str, model: ModelRef, inputs: Sequence[Any], fetch: Any) -> list[JobResult | JobError]:
        running.set()
        assert may_end.wait(10)
        return score_each(kind, model, inputs, fetch)

    long, quick = bench.gateway.add("batch", BATCH), bench.gateway.add("multimodal.match", MATCH)
    bench.long(run_long)
    bench.interactive(run_slowly)
    assert running.wait(10)
    bench.gateway.wait_for(long, "running")
    bench.stop()
    may_end.set()
    bench.gateway.wait_for(long, "handed_back")
    bench.gateway.wait_for(quick, "succeeded")


def test_a_heartbeat_whose_answer_was_lost_is_sent_again_as_it_was(bench: Bench) -> None:
    lost: list[bytes] = []

    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Callable[[], None]) -> JobResult:
        held.metrics(1, {"train_loss": 0.5, "broken": float("nan")})
        flush()
        bench.gateway.wait(lambda: lost)
        held.log("info", "second")
        bench.gateway.wait(lambda: len(bench.gateway.beats(held.lease.job)) >= 2)
        return JobResult(DONE)

    def lose(call: Call) -> None:
        lost.append(call.body)
        call.cut(length=10)

    bench.gateway.faults = [times(1, "heartbeat", lose)]
    job = bench.gateway.add("batch", BATCH)
    bench.long(run)
    bench.gateway.wait_for(job, "succeeded")
    first, second = bench.gateway.beats(job)[:2]
    assert first == json.loads(lost[0])["jobs"][0]
    assert first["events"] == [{"type": "metrics", "step": 1, "values": {"train_loss": 0.5}}]
    assert (first["sequence"], second["sequence"]) == (1, 2)
    assert second["events"] == [{"type": "log", "level": "info", "message": "second"}]


def test_a_step_longer_than_the_lease_does_not_lose_it(bench: Bench) -> None:
    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Any) -> JobResult:
        bench.gateway.wait(lambda: len(bench.gateway.beats(held.lease.job)) >= 4)  # a thread that looks up at nothing
        return JobResult(DONE)

    job = bench.gateway.add("batch", BATCH)
    bench.long(run)
    bench.gateway.wait_for(job, "succeeded")
    assert all(told["lease_ms"] == 3000 for told in bench.gateway.told["heartbeat"])


def test_transfers_survive_cut_connections_and_check_what_came(bench: Bench) -> None:
    data = bytes(range(256)) * 20_000  # 5 MB
    ranges: list[str | None] = []

    def cut_download(call: Call) -> None:
        call.cut(length=len(data), body=data[:2_000_000])

    def keep_range(call: Call) -> bool:
        if call.route == "GET data.bin":
            ranges.append(call.handler.headers.get("range"))
        return False

    bench.gateway.faults = [
        keep_range,
        times(1, "GET data.bin", cut_download),
        times(2, "PUT copy.bin", lambda call: call.cut(500)),
    ]

    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Any) -> JobResult:
        path = bench.workdir / "data.bin"
        transfer.read(held.lease.objects[0], path)
        assert path.read_bytes() == data
        return JobResult(DONE, outputs=[transfer.write("copy.bin", path)])

    job = bench.gateway.add("batch", BATCH, {"data.bin": data})
    bench.long(run)
    bench.gateway.wait_for(job, "succeeded")
    assert bench.gateway.objects["copy.bin"] == data
    assert ranges == [None, f"bytes={CHUNK_BYTES}-"]  # whole chunks count
    urls = [told for told in bench.gateway.of("urls", job) if told["writes"]]
    assert len(urls) == 3  # a fresh one for each try


@pytest.mark.parametrize("lie", ["bytes", "sha256"])
def test_an_object_that_is_not_what_it_was_said_to_be_is_never_used(bench: Bench, lie: str) -> None:
    used: list[str] = []

    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Any) -> JobResult:
        path = bench.workdir / "data.bin"
        try:
            transfer.read(held.lease.objects[0], path)
            used.append("whole")
        finally:
            used.extend(found.name for found in bench.workdir.glob("data*"))
        return JobResult(DONE)

    item = {"name": "data.bin", "bytes": 4, "sha256": hashlib.sha256(b"data").hexdigest()}
    bench.gateway.objects["data.bin"] = b"data"
    item[lie] = 3 if lie == "bytes" else "0" * 64
    job = bench.gateway.add("batch", BATCH, objects=None)
    bench.gateway.jobs[0]["objects"] = [item]
    bench.long(run)
    bench.gateway.wait_for(job, "retry")
    assert bench.gateway.of("fail", job)[0]["error"]["code"] == "input_mismatch"
    assert used == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the kernel has no /dev/full")
def test_a_full_disk_is_a_retryable_error_by_that_name(bench: Bench) -> None:
    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Any) -> JobResult:
        path = bench.workdir / "data.bin"
        path.with_name(f"data.bin.{threading.get_ident()}.part").symlink_to("/dev/full")
        transfer.read(held.lease.objects[0], path)
        return JobResult(DONE)

    job = bench.gateway.add("batch", BATCH, {"data.bin": b"data" * 1_000_000})
    bench.long(run)
    bench.gateway.wait_for(job, "retry")
    assert bench.gateway.of("fail", job)[0]["error"]["code"] == "disk_full"


def test_another_contract_version_is_refused_by_name_on_either_side(bench: Bench) -> None:
    bench.gateway.told_version = "2"  # the gateway refuses
    bench.interactive().join(timeout=10)
    bench.gateway.told_version = "1"
    bench.gateway.faults = [times(1, "lease", lambda call: call.answer(200, b'{"leases":[]}', {}))]
    bench.interactive().join(timeout=10)  # an answer without a version
    assert [error.code for error in bench.refusals] == ["contract_version_unsupported"] * 2
    assert "version 1" in str(bench.refusals[1])


def test_a_wrong_token_ends_the_worker_instead_of_knocking_on(bench: Bench) -> None:
    bench.run(InteractiveLane(bench.settings(("multimodal.match",), token="fwt_wrong"), score_each, 1)).join(10)
    assert [error.status for error in bench.refusals] == [401]


def test_leases_that_arrive_after_the_stop_are_handed_back(bench: Bench) -> None:
    polled, stopped = threading.Event(), threading.Event()

    def hold(call: Call) -> None:
        polled.set()
        assert stopped.wait(10)
        with bench.gateway.lock:
            leases = [bench.gateway.jobs.pop()]
            bench.gateway.state[leases[0]["job"]] = "running"
        call.answer(200, json.dumps({"leases": leases}).encode(), {"x-flava-contract": "1"})

    bench.gateway.faults = [times(1, "lease", hold)]
    job = bench.gateway.add("multimodal.match", MATCH)
    thread = bench.interactive()
    assert polled.wait(10)
    bench.stop()
    thread.join(timeout=5)
    assert not thread.is_alive()  # it does not wait for the poll
    stopped.set()
    bench.gateway.wait_for(job, "handed_back")


def test_a_runtime_that_is_over_fails_the_job_for_good(bench: Bench) -> None:
    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Any) -> JobResult:
        until_stopped(held)
        raise AssertionError

    job = bench.gateway.add("batch", BATCH, max_runtime_ms=300)
    bench.long(run)
    bench.gateway.wait_for(job, "failed")
    assert bench.gateway.of("fail", job)[0]["error"]["code"] == "max_runtime_exceeded"


def test_events_of_a_long_absence_keep_the_newest_and_fit_the_contract(bench: Bench) -> None:
    lease = Lease.of({**bench.gateway.jobs[0]}) if bench.gateway.add("batch", BATCH) else None
    assert lease is not None
    held = HeldJob(replace(lease, fence=7))
    for step in range(10_000):
        held.metrics(step, {"train_loss": 1.0})
    held.log("warn", "x" * 10_000)
    steps: list[int] = []
    while held.has_news():
        part = held.heartbeat()
        bench.gateway.contract.check("HeartbeatRequest", {"worker": "w", "lease_ms": 3000, "jobs": [part]})
        steps += [event["step"] for event in part["events"] if event["type"] == "metrics"]
        held.acknowledge()
    assert steps[-1] == 9_999
    assert len(steps) < 10_000
    assert steps == sorted(steps)


def test_the_protocol_half_of_the_worker_never_imports_torch() -> None:
    modules = "lanes finishing transfer heartbeat broker_client model_store catalog training batch.run".split()
    code = "; ".join(f"import flava_gpu.worker.{name}" for name in modules)
    subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; assert 'torch' not in sys.modules"],
        check=True,
        cwd=Path(__file__).parents[1],
    )
