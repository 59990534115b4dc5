"""The worker's loop over real HTTP against a gateway that misbehaves; the work itself is a small fake, so no torch is here."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.job import JobError, JobResult
from flava_gpu.worker.lanes import InteractiveLane
from flava_gpu.worker.messages import Checkpoint, JobObject, ModelRef
from flava_gpu.worker.transfer import Transfer
from tests.worker_bench import BATCH, DONE, MATCH, Bench, score_each, times, until_stopped
from tests.worker_gateway import Call


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


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
    assert [checkpoint["step"] for checkpoint in bench.gateway.checkpoints(job)] == [3]


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


def test_the_protocol_half_of_the_worker_never_imports_torch() -> None:
    modules = "lanes finishing transfer heartbeat broker_client model_store catalog training batch.run".split()
    code = "; ".join(f"import flava_gpu.worker.{name}" for name in modules)
    subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; assert 'torch' not in sys.modules"],
        check=True,
        cwd=Path(__file__).parents[1],
    )
