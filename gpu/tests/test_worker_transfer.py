"""What goes between worker and gateway: objects by presigned URLs, heartbeats, long inputs and results; cut, doubled and lied about."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flava_gpu.worker.contract import MAX_INLINE_BYTES
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.job import JobError, JobResult
from flava_gpu.worker.messages import Lease, ModelRef
from flava_gpu.worker.transfer import CHUNK_BYTES, Transfer
from tests.worker_bench import BATCH, DONE, MATCH, Bench, times
from tests.worker_gateway import Call


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


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
