"""Lanes of a worker on a gateway that misbehaves, with small fakes for the work itself: what the tests of the loop share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flava_gpu.worker.broker_client import BrokerClient, FatalRefusalError
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.job import JobError, JobResult
from flava_gpu.worker.lanes import InteractiveLane, Lane, LaneSettings, LongLane
from flava_gpu.worker.messages import ModelRef, WorkerDescription, WorkerModel
from flava_gpu.worker.transfer import new_http
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
