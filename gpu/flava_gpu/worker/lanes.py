"""The two lanes of a worker: interactive jobs, many at a time, and long ones (batches, training), one at a time.

A lane is a worker of its own to the gateway: it asks for its own kinds, and a batch of hours keeps nobody from being
answered. Jobs that arrive together in the interactive lane and are of one kind and model share their forward passes. Both
lanes may use the device; device_turns.py says who goes first. Imports no torch.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import httpx2

from flava_gpu.worker.broker_client import BrokerClient, FatalRefusalError
from flava_gpu.worker.contract import MAX_LEASED_JOBS, Contract, ContractError
from flava_gpu.worker.finishing import Finisher
from flava_gpu.worker.heartbeat import Heartbeat
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.job import JobError, JobResult, StoppedError
from flava_gpu.worker.messages import JobObject, Lease, ModelRef, WorkerDescription
from flava_gpu.worker.model_store import key_of
from flava_gpu.worker.transfer import Transfer

logger = logging.getLogger(__name__)

FINISHING_THREADS = 4
"""Answers go out while the next jobs are computed."""


@dataclass(frozen=True)
class LaneSettings:
    client: BrokerClient
    http: httpx2.Client
    contract: Contract
    worker: WorkerDescription
    loaded_models: Callable[[], frozenset[str]]
    lease_ms: int
    wait_ms: int
    workdir: Path
    stopping: threading.Event


class RunTogether(Protocol):
    """Does jobs of one kind and model in shared passes: one answer each, in order."""

    def __call__(
        self, kind: str, model: ModelRef, inputs: Sequence[Any], fetch: Callable[[JobObject, Path], None]
    ) -> Sequence[JobResult | JobError]: ...


class RunLong(Protocol):
    """Does one job of hours: its lease, what its input says, where it may write, how objects come and go."""

    def __call__(self, held: HeldJob, given: Any, transfer: Transfer, flush: Callable[[], None]) -> JobResult: ...


class Lane:
    """Leases, keeps alive and ends jobs; what is done with them is the subclasses'."""

    def __init__(self, settings: LaneSettings) -> None:
        self.settings = settings
        self.worker_id = settings.worker.id
        self._arrivals: queue.SimpleQueue[list[Lease] | Exception] = queue.SimpleQueue()
        self.heartbeat = Heartbeat(settings.client, self.worker_id, settings.lease_ms)
        self.finisher = Finisher(
            settings.client, settings.http, self.heartbeat, self.worker_id, settings.contract, settings.workdir
        )

    def run(self) -> None:
        """Until stopping is set and what is held has ended. Raises FatalRefusalError when the gateway refuses this worker."""
        try:
            while not self.settings.stopping.is_set():
                self._raise_if_refused()
                leases = self._lease()
                if leases:
                    self._work([self.heartbeat.hold(lease) for lease in leases])
        finally:
            self._drain()
            self.heartbeat.close()

    def stop(self) -> None:
        """After stopping is set: wakes `run` from its wait for work."""
        self._arrivals.put([])

    def room(self) -> int:
        """How many jobs may be leased now."""
        raise NotImplementedError

    def _work(self, jobs: list[HeldJob]) -> None:
        raise NotImplementedError

    def _drain(self) -> None:
        """Waits for what goes on in other threads."""

    def _lease(self) -> list[Lease]:
        """Waits in a thread of its own: a gateway that has no work holds the request, and a stop must not wait for it."""
        room = self.room()
        if self.settings.stopping.is_set():
            return []
        threading.Thread(target=self._poll, args=(room,), name=f"poll {self.worker_id}", daemon=True).start()
        arrived = self._arrivals.get()
        if isinstance(arrived, BaseException):
            raise arrived
        return arrived

    def _poll(self, room: int) -> None:
        settings = self.settings
        loaded = settings.loaded_models()
        models = tuple(replace(model, is_loaded=model.id in loaded) for model in settings.worker.models)
        described = replace(settings.worker, models=models)
        try:
            leases = settings.client.lease(described, room, settings.lease_ms, settings.wait_ms)
        except Exception as error:
            self._arrivals.put(error)
            return
        if settings.stopping.is_set():
            for lease in leases:  # nobody is there any more to do them
                self.finisher.end(HeldJob(lease), StoppedError("handed_back"))
        else:
            self._arrivals.put(leases)

    def _raise_if_refused(self) -> None:
        if self.heartbeat.fatal is not None:
            raise self.heartbeat.fatal

    def _input(self, held: HeldJob) -> Any:
        """What the job is asked, checked against the contract. Raises JobError."""
        lease = held.lease
        if "inline" in lease.input:
            given = lease.input["inline"]
        else:
            path = self.settings.workdir / f"{lease.job}-{lease.fence}.input.json"
            try:
                self._transfer(held).read(JobObject.of(lease.input["object"]), path)
                given = json.loads(path.read_bytes())
            except ValueError as error:
                raise JobError("invalid_input", "the job's input is not JSON") from error
            finally:
                path.unlink(missing_ok=True)
        try:
            self.settings.contract.check(f"{lease.kind}.input", given)
        except ContractError as error:
            raise JobError("invalid_input", str(error)) from error
        return given

    def _transfer(self, held: HeldJob) -> Transfer:
        return Transfer(self.settings.client, self.settings.http, self.worker_id, held)


class InteractiveLane(Lane):
    """Jobs with somebody waiting. On SIGTERM those that are held are done and answered."""

    def __init__(self, settings: LaneSettings, run_together: RunTogether, max_jobs: int) -> None:
        super().__init__(settings)
        self._run_together = run_together
        self._max_jobs = min(max_jobs, MAX_LEASED_JOBS)
        self._ending = ThreadPoolExecutor(FINISHING_THREADS, thread_name_prefix="finish")
        self._ended = threading.Event()
        self._fatal: FatalRefusalError | None = None

    def room(self) -> int:
        while (room := self._max_jobs - len(self.heartbeat.held())) < 1 and not self.settings.stopping.is_set():
            self._raise_if_refused()
            self._ended.wait(1)
            self._ended.clear()
        return room

    def _work(self, jobs: list[HeldJob]) -> None:
        groups: dict[tuple[str, str], list[tuple[HeldJob, Any]]] = {}
        for held in jobs:
            try:
                held.check()
                given = self._input(held)
                groups.setdefault((held.lease.kind, key_of(held.lease.model)), []).append((held, given))
            except Exception as error:
                self._end(held, error)
        for (kind, _), group in groups.items():
            self._run_group(kind, group)

    def _run_group(self, kind: str, group: list[tuple[HeldJob, Any]]) -> None:
        first = group[0][0]
        start = time.monotonic()
        try:
            answers = self._run_together(
                kind, first.lease.model, [given for _, given in group], self._transfer(first).read
            )
        except Exception as error:
            if len(group) == 1:
                self._end(first, error)
                return
            logger.warning("%d jobs together failed, each is tried alone: %s", len(group), type(error).__name__)
            for one in group:
                self._run_group(kind, [one])
            return
        seconds = (time.monotonic() - start) / len(group)
        for (held, _), answer in zip(group, answers, strict=True):
            held.add_gpu_seconds(seconds)
            self._end(held, answer)

    def _end(self, held: HeldJob, outcome: JobResult | BaseException) -> None:
        def end() -> None:
            try:
                self.finisher.end(held, outcome)
            except FatalRefusalError as error:
                self._fatal = error
            finally:
                self._ended.set()

        self._ending.submit(end)

    def _raise_if_refused(self) -> None:
        if self._fatal is not None:
            raise self._fatal
        super()._raise_if_refused()

    def _drain(self) -> None:
        self._ending.shutdown(wait=True)


class LongLane(Lane):
    """One job of minutes to days at a time. On SIGTERM it is handed back with its last checkpoint."""

    def __init__(self, settings: LaneSettings, runners: dict[str, RunLong]) -> None:
        super().__init__(settings)
        self._runners = runners

    def room(self) -> int:
        return 1

    def stop(self) -> None:
        super().stop()
        for held in self.heartbeat.held():
            held.hand_back()

    def _work(self, jobs: list[HeldJob]) -> None:
        for held in jobs:
            if self.settings.stopping.is_set():
                held.hand_back()
            logger.info("%s: attempt %d of a %s job", held.lease.job, held.lease.attempt, held.lease.kind)
            outcome: JobResult | BaseException
            try:
                held.check()
                run = self._runners[held.lease.kind]
                outcome = run(held, self._input(held), self._transfer(held), self.heartbeat.flush)
                logger.info("%s: done", held.lease.job)
            except Exception as error:
                outcome = error
            self.finisher.end(held, outcome)
