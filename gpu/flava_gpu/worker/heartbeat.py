"""Keeps leases alive from a thread of its own, so that a long step of the job does not lose it. Imports no torch.

One request carries all held jobs of a worker. It goes out every third of the lease, and sooner when a job has news: what
people watch should not lag by ten seconds.
"""

from __future__ import annotations

import logging
import threading
import time

from flava_gpu.worker.broker_client import BrokerClient, FatalRefusalError, RefusedError, UnavailableError
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.messages import Lease

logger = logging.getLogger(__name__)

BEATS_PER_LEASE = 3
NEWS_SECONDS = 1.0


class Heartbeat:
    def __init__(self, client: BrokerClient, worker: str, lease_ms: int) -> None:
        self._client = client
        self._worker = worker
        self._lease_ms = lease_ms
        self._held: dict[str, HeldJob] = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._is_closed = False
        self.fatal: FatalRefusalError | None = None
        """Set when the gateway refuses this worker itself; nothing more will be accepted."""
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {worker}", daemon=True)
        self._thread.start()

    def hold(self, lease: Lease) -> HeldJob:
        held = HeldJob(lease)
        with self._lock:
            self._held[lease.job] = held
        return held

    def release(self, held: HeldJob) -> None:
        """Before `complete` and `fail`: whatever comes after the end of a job would find no lease."""
        with self._lock:
            if self._held.get(held.lease.job) is held:
                del self._held[held.lease.job]

    def held(self) -> list[HeldJob]:
        with self._lock:
            return list(self._held.values())

    def flush(self) -> None:
        """Send soon, as after a checkpoint."""
        self._wake.set()

    def send_news(self, held: HeldJob) -> None:
        """The job's last events and checkpoint, before its end is told: after it there is no lease to bring them under."""
        if held.has_news() and not held.is_lost:
            self._beat([held])

    def close(self) -> None:
        self._is_closed = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        interval = self._lease_ms / 1000 / BEATS_PER_LEASE
        last_success = time.monotonic()
        while not self._is_closed:
            is_flush = self._wake.wait(min(interval, NEWS_SECONDS))
            self._wake.clear()
            jobs = self.held()
            if not jobs:
                last_success = time.monotonic()
                continue
            is_due = time.monotonic() - last_success >= interval - NEWS_SECONDS
            if (is_flush or is_due or any(job.has_news() for job in jobs)) and self._beat(jobs):
                last_success = time.monotonic()

    def _beat(self, jobs: list[HeldJob]) -> bool:
        with self._sending:
            try:
                return self._send(jobs)
            except Exception:  # a thread that ends here would lose every lease, without a word
                logger.exception("heartbeat: broke")
                return False

    def _send(self, jobs: list[HeldJob]) -> bool:
        parts = [job.heartbeat() for job in jobs]
        try:
            answers = self._client.heartbeat(self._worker, self._lease_ms, parts)
        except UnavailableError as error:
            logger.warning("heartbeat: %s", error)
            return False
        except FatalRefusalError as error:
            self.fatal = error
            logger.error("heartbeat: the gateway refuses this worker: %s", error)
            for job in jobs:
                job.lose()
            return False
        except (RefusedError, ValueError) as error:  # ValueError: it cannot be said in JSON
            return self._send_apart(jobs, error)
        for job in jobs:
            answer = answers.get(job.lease.job)
            if answer is None or not answer.is_held:
                job.lose()
                continue
            job.acknowledge()
            job.request(cancel=answer.should_cancel, pause=answer.should_pause)
        return True

    def _send_apart(self, jobs: list[HeldJob], error: Exception) -> bool:
        """What one job tells must cost the others nothing, and itself no more than what it tells."""
        if len(jobs) > 1:
            told = [self._send([job]) for job in jobs]  # all of them, whichever fails
            return all(told)
        why = str(error) if isinstance(error, RefusedError) else type(error).__name__
        logger.error("heartbeat: %s: what it tells is dropped: %s", jobs[0].lease.job, why)
        jobs[0].drop_news()
        return False
