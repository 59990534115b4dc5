"""One leased job while it is held: what goes up with the next heartbeat, what came down with the last. Imports no torch."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import Any

from flava_gpu.worker.contract import MAX_EVENTS, shorten
from flava_gpu.worker.job import JobError, LeaseLostError, StoppedError
from flava_gpu.worker.messages import Checkpoint, Lease

KEPT_EVENTS = 20 * MAX_EVENTS
"""While the gateway is away the oldest events go first."""


class HeldJob:
    """Written by the thread that does the job and by the heartbeat's; every method may be called from either."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.changed = threading.Condition()
        """Notified when an answer has changed what is to become of the job."""
        self._is_lost = False
        self._should_cancel = False
        self._should_pause = False
        self._must_hand_back = False
        self._deadline = time.monotonic() + lease.max_runtime_ms / 1000
        self._sequence = 1
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._progress: dict[str, Any] | None = None
        self._checkpoint: Checkpoint | None = None
        self._sent_checkpoint: Checkpoint | None = None
        self._untold: Checkpoint | None = None
        self._sent: dict[str, Any] | None = None
        self._gpu_seconds = 0.0

    # What the job's own thread calls.

    def check(self) -> None:
        """Raises LeaseLostError, StoppedError or JobError when the job must not go on; call it between steps."""
        self.check_lost()
        if self._should_cancel:
            raise StoppedError("cancelled")
        if self._should_pause:
            raise StoppedError("paused")
        if self._must_hand_back:
            raise StoppedError("handed_back")
        if time.monotonic() > self._deadline:
            raise JobError("max_runtime_exceeded", "the job has run for longer than it may")

    def check_lost(self) -> None:
        if self._is_lost:
            raise LeaseLostError(f"{self.lease.job}: the lease is lost")

    def add_gpu_seconds(self, seconds: float) -> None:
        with self.changed:
            self._gpu_seconds += seconds

    def gpu_seconds(self) -> float:
        return round(self._gpu_seconds, 6)

    def log(self, level: str, message: str) -> None:
        with self.changed:
            self._events.append({"type": "log", "level": level, "message": shorten(message) or "-"})

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Numbers that JSON has no word for are left out."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        with self.changed:
            self._events.append({"type": "metrics", "step": step, "values": finite})

    def progress(
        self, done: float, total: float, unit: str, eta_seconds: float | None, counts: dict[str, int] | None = None
    ) -> None:
        told = {"done": done, "total": total, "unit": unit, "eta_seconds": eta_seconds}
        with self.changed:
            self._progress = told if counts is None else {**told, "counts": counts}

    def announce(self, checkpoint: Checkpoint) -> None:
        """`checkpoint` is uploaded: another attempt may begin from it."""
        with self.changed:
            self._checkpoint = checkpoint
            self._untold = checkpoint

    # What the heartbeat's thread calls.

    def hand_back(self) -> None:
        with self.changed:
            self._must_hand_back = True
            self.changed.notify_all()

    def lose(self) -> None:
        with self.changed:
            self._is_lost = True
            self.changed.notify_all()

    def request(self, *, cancel: bool, pause: bool) -> None:
        with self.changed:
            self._should_cancel = cancel
            self._should_pause = pause
            self.changed.notify_all()

    @property
    def is_lost(self) -> bool:
        return self._is_lost

    def is_worth_keeping(self) -> bool:
        """Whether another attempt may begin from what there is: not after a loss or a cancellation."""
        return not self._is_lost and not self._should_cancel

    @property
    def untold_checkpoint(self) -> Checkpoint | None:
        """For the end of the lease: the last one that it wrote, None where a heartbeat has brought it.

        Never the one that the job was resumed from, whose objects an earlier lease wrote: the gateway looks below this one's.
        """
        return self._untold

    def has_news(self) -> bool:
        return bool(self._events or self._progress or self._checkpoint or self._sent)

    def heartbeat(self) -> dict[str, Any]:
        """The job's part of a heartbeat. The same again until `acknowledge`, so that a lost answer doubles nothing."""
        with self.changed:
            if self._sent is None:
                self._sent = self._compose()
            return self._sent

    def acknowledge(self) -> None:
        with self.changed:
            self._sent = None
            self._sequence += 1
            if self._untold is self._sent_checkpoint:
                self._untold = None

    def drop_news(self) -> None:
        """What was last composed can never be told. A checkpoint in it is tried once more by itself."""
        with self.changed:
            is_mixed = self._sent is not None and ("events" in self._sent or "progress" in self._sent)
            self._sent = None
            self._sequence += 1
            if is_mixed and self._checkpoint is None:
                self._checkpoint = self._sent_checkpoint

    def _compose(self) -> dict[str, Any]:
        part: dict[str, Any] = {
            "job": self.lease.job,
            "fence": self.lease.fence,
            "sequence": self._sequence,
            "gpu_seconds": self.gpu_seconds(),
        }
        events = [self._events.popleft() for _ in range(min(MAX_EVENTS, len(self._events)))]
        if events:
            part["events"] = events
        if self._progress is not None:
            part["progress"] = self._progress
            self._progress = None
        self._sent_checkpoint = self._checkpoint
        if self._checkpoint is not None:
            part["checkpoint"] = self._checkpoint.to_json()
            self._checkpoint = None
        return part
