"""Text that has no UTF-8, and whatever else nobody foresaw at the end of a job: it costs that job, never the worker."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from flava_gpu.worker.contract import MAX_MESSAGE_CHARACTERS, shorten
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.job import JobError, JobResult
from flava_gpu.worker.messages import Checkpoint, JobObject, ModelRef
from flava_gpu.worker.transfer import Transfer
from tests.worker_bench import BATCH, DONE, MATCH, Bench, score_each, until_stopped
from tests.worker_gateway import Call

HALF = "ba\ud800d"
"""JSON can say it, UTF-8 cannot."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_half_a_surrogate_pair_in_a_result_a_log_line_or_an_error_is_told_like_other_text(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Callable[[], None]) -> JobResult:
        held.log("info", HALF)
        if given["space"] == "fail":
            raise JobError("invalid_data", HALF, param=HALF)
        return JobResult({**DONE, "labels": [HALF]})

    monkeypatch.setattr(bench.gateway.contract, "check", lambda name, message: None)
    bench.long(run)
    good, bad = bench.gateway.add("batch", BATCH), bench.gateway.add("batch", {**BATCH, "space": "fail"})
    bench.gateway.wait_for(good, "succeeded")
    bench.gateway.wait_for(bad, "failed")
    assert bench.gateway.of("complete", good)[0]["result"]["labels"] == [HALF]
    assert bench.gateway.of("fail", bad)[0]["error"]["message"] == HALF
    events = [event for beat in bench.gateway.beats(good) for event in beat.get("events", [])]
    assert [event["message"] for event in events] == [HALF]


@pytest.mark.parametrize("lane", ["long", "interactive"])
def test_a_result_that_cannot_be_told_fails_its_job_and_the_lane_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, lane: str
) -> None:
    broken = {"scores": [float("nan")], "request_counts": DONE["request_counts"]}

    def run_long(held: HeldJob, given: Any, transfer: Transfer, flush: Any) -> JobResult:
        return JobResult(broken if given["space"] == "break" else DONE)

    def run_together(kind: str, model: ModelRef, inputs: Sequence[Any], fetch: Any) -> list[JobResult | JobError]:
        return [JobResult(broken if one["texts"] == ["break"] else {"scores": [0.5]}) for one in inputs]

    monkeypatch.setattr(bench.gateway.contract, "check", lambda name, message: None)
    if lane == "long":
        bench.long(run_long)
        bad, good = bench.gateway.add("batch", {**BATCH, "space": "break"}), bench.gateway.add("batch", BATCH)
    else:
        bench.interactive(run_together)
        bad = bench.gateway.add("multimodal.match", {**MATCH, "texts": ["break"]})
        good = bench.gateway.add("multimodal.match", MATCH)
    bench.gateway.wait_for(good, "succeeded")
    bench.gateway.wait_for(bad, "retry")
    assert bench.gateway.of("fail", bad)[0]["error"]["code"] == "worker_error"


def test_news_that_cannot_be_told_is_dropped_and_the_leases_of_all_jobs_are_kept(bench: Bench) -> None:
    """Of two jobs one has a number that JSON has no word for, then an event that the gateway refuses."""
    refused = threading.Event()

    def refuse(call: Call) -> bool:
        if call.route != "heartbeat" or b"refuse me" not in call.body:
            return False
        refused.set()
        body = json.dumps({"error": {"code": "invalid_input", "message": "no"}}).encode()
        call.answer(400, body, {"x-flava-contract": "1"})
        return True

    def run_together(kind: str, model: ModelRef, inputs: Sequence[Any], fetch: Any) -> list[JobResult | JobError]:
        bench.gateway.wait(lambda: bench.gateway.beats(quick), 10)
        for held in lane.heartbeat.held():
            held.progress(float("nan"), 1, "steps", None)
        seen = len(bench.gateway.beats(quick))
        bench.gateway.wait(lambda: len(bench.gateway.beats(quick)) > seen, 10)
        seen = len(bench.gateway.beats(quick))
        lane.heartbeat.held()[0].log("info", "refuse me")
        bench.gateway.wait(lambda: refused.is_set() and len(bench.gateway.beats(quick)) > seen, 10)
        return score_each(kind, model, inputs, fetch)

    bench.gateway.faults = [refuse]
    quick = bench.gateway.add("multimodal.match", MATCH)
    other = bench.gateway.add("multimodal.match", MATCH)
    bench.interactive(run_together)
    lane = bench.lanes[0][0]
    bench.gateway.wait_for(quick, "succeeded", 40)
    bench.gateway.wait_for(other, "succeeded")
    assert len(bench.gateway.beats(other)) > 2


def test_neither_a_refused_message_nor_an_error_in_the_data_puts_what_a_user_wrote_into_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Any) -> JobResult:
        raise JobError("invalid_data", "line 3: no picture 'my secret.png'", line=3)

    bench.long(run)
    bench.interactive()
    jobs = [bench.gateway.add("batch", BATCH)]
    jobs.append(bench.gateway.add("multimodal.match", {**MATCH, "texts": "my secret"}))
    for job in jobs:
        bench.gateway.wait_for(job, "failed")
    assert "invalid_data" in caplog.text
    assert "secret" not in caplog.text


def test_a_message_is_cut_to_what_the_contract_counts_which_is_utf_16() -> None:
    cut = shorten("😀" * MAX_MESSAGE_CHARACTERS)
    assert len(cut.encode("utf-16-le")) // 2 <= MAX_MESSAGE_CHARACTERS
    assert cut.startswith("😀" * (MAX_MESSAGE_CHARACTERS // 2 - 1))
    assert cut.endswith("…")
    assert shorten(HALF, 4) == HALF


def test_a_resumed_job_ends_without_the_checkpoint_that_an_earlier_lease_wrote(bench: Bench) -> None:
    running = threading.Event()

    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Callable[[], None]) -> JobResult:
        running.set()
        until_stopped(held)
        raise AssertionError

    resume = {"step": 40, "objects": [bench.gateway.store("checkpoint/40/state.json", b"{}")], "metrics": {}}
    job = bench.gateway.add("batch", BATCH, resume=resume, fence=2, attempt=2)
    bench.long(run)
    assert running.wait(10)
    bench.stop()
    bench.gateway.wait_for(job, "handed_back")
    assert bench.gateway.of("fail", job)[0]["checkpoint"] is None


def test_a_checkpoint_is_told_once_with_a_heartbeat_or_else_with_the_end(bench: Bench) -> None:
    kept = Checkpoint(3, (JobObject("parts/a", 1, "0" * 64),), {"lines": 3})

    def run(held: HeldJob, given: Any, transfer: Transfer, flush: Callable[[], None]) -> JobResult:
        held.announce(kept)
        raise JobError("disk_full", "full", retryable=True)

    bench.long(run)
    told = bench.gateway.add("batch", BATCH)
    bench.gateway.wait_for(told, "retry")
    assert [beat["checkpoint"]["step"] for beat in bench.gateway.beats(told) if "checkpoint" in beat] == [3]
    assert bench.gateway.of("fail", told)[0]["checkpoint"] is None
    bench.gateway.faults = [lambda call: call.route == "heartbeat" and (call.answer(503, b"", {}) or True)]
    untold = bench.gateway.add("batch", BATCH)
    bench.gateway.wait_for(untold, "retry")
    assert bench.gateway.of("fail", untold)[0]["checkpoint"]["step"] == 3
