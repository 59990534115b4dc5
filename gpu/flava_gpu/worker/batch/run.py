"""One batch from its input file to its output and error files, a few lines at a time; a killed one goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flava_gpu.worker.batch.lines import Line, count_requests, read_lines
from flava_gpu.worker.batch.orders import About, Order, order_of
from flava_gpu.worker.batch.parts import PartedFile
from flava_gpu.worker.batch.responses import response_of
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.job import JobError, JobResult, Usage
from flava_gpu.worker.messages import Checkpoint
from flava_gpu.worker.model_store import ModelStore
from flava_gpu.worker.transfer import Transfer

if TYPE_CHECKING:
    from flava_gpu.worker.tasks.runtime import FlavaRuntime

logger = logging.getLogger(__name__)

LINES_AT_ONCE = 32
CHECKPOINT_LINES = 256
CHECKPOINT_SECONDS = 20.0
"""A checkpoint comes after this long, or after so many lines: what a killed worker costs."""
BAD_REQUEST, SERVER_ERROR = 400, 500
STATUSES = {
    "head_not_trained": 409,
    "image_too_large": 413,
    "unsupported_image": 415,
    "corrupt_image": 422,
    "worker_error": SERVER_ERROR,
}
"""What the routes answer, where it is not BAD_REQUEST."""


@dataclass
class Counts:
    total: int
    done: int = 0
    completed: int = 0
    failed: int = 0
    tokens: int = 0
    images: int = 0

    def to_json(self) -> dict[str, int]:
        return {"total": self.total, "completed": self.completed, "failed": self.failed}


class BatchRun:
    """RunLong for batches: everything that one worker's batches share."""

    def __init__(
        self,
        store: ModelStore[FlavaRuntime],
        turn: Callable[[], AbstractContextManager[None]],
        workdir: Path,
    ) -> None:
        self._store = store
        self._turn = turn
        self._workdir = workdir

    def __call__(self, held: HeldJob, given: Any, transfer: Transfer, flush: Callable[[], None]) -> JobResult:
        folder = Path(tempfile.mkdtemp(prefix="batch-", dir=self._workdir))
        try:
            runtime = self._store.get(held.lease.model, transfer.read)
            batch = OneBatch(held, given, transfer, flush, folder, runtime, self._turn)
            return batch.run()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class OneBatch:
    def __init__(
        self,
        held: HeldJob,
        given: dict[str, Any],
        transfer: Transfer,
        flush: Callable[[], None],
        folder: Path,
        runtime: FlavaRuntime,
        turn: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._held = held
        self._endpoint: str = given["endpoint"]
        self._model: str = given["model"]
        self._input = next((item for item in held.lease.objects if item.name == given["input"]), None)
        self._transfer = transfer
        self._flush = flush
        self._path = folder / "input.jsonl"
        self._output = PartedFile("output", folder)
        self._errors = PartedFile("errors", folder)
        self._runtime = runtime
        self._turn = turn
        self._about = About(held.lease.job, self._model, given["space"], runtime.weights_sha256, runtime.grid)

    def run(self) -> JobResult:
        if self._input is None:
            raise JobError("invalid_input", "the batch's input is not among the job's objects")
        self._transfer.read(self._input, self._path)
        counts = Counts(count_requests(self._path))
        self._restore(counts)
        self._tell(counts, None)
        lines = read_lines(self._path, self._endpoint, self._model)
        for _ in range(counts.done):  # read again for their custom_ids
            next(lines)
        try:
            self._answer_all(lines, counts)
        except BaseException:
            self._save_what_is_there(counts)
            raise
        outputs = [
            self._transfer.write(f"{file.name}.jsonl", file.path) for file in (self._output, self._errors) if file.bytes
        ]
        self._tell(counts, 0)
        return JobResult({"request_counts": counts.to_json()}, Usage(counts.tokens, counts.images), outputs)

    def _answer_all(self, lines: Iterator[Line], counts: Counts) -> None:
        started, begun_at = time.monotonic(), counts.done
        saved_at, saved = time.monotonic(), counts.done
        while some := tuple(islice(lines, LINES_AT_ONCE)):
            self._held.check()
            self._answer(some, counts)
            seconds = time.monotonic() - started
            self._tell(counts, seconds / (counts.done - begun_at) * (counts.total - counts.done))
            if counts.done - saved >= CHECKPOINT_LINES or time.monotonic() - saved_at >= CHECKPOINT_SECONDS:
                self._save(counts, self._transfer)
                saved_at, saved = time.monotonic(), counts.done

    def _answer(self, lines: tuple[Line, ...], counts: Counts) -> None:
        """Writes one line for each of `lines`, in their order, to the output or to the errors."""
        orders: list[Order | JobError] = [self._order(line) for line in lines]
        results = iter(self._compute([order for order in orders if isinstance(order, Order)]))
        for line, order in zip(lines, orders, strict=True):
            outcome, seconds = (order, 0.0) if isinstance(order, JobError) else next(results)
            if isinstance(order, Order) and isinstance(outcome, JobResult):
                answer = self._answer_line(line, order, outcome, seconds)
                if isinstance(answer, JobError):
                    outcome = answer
                else:
                    self._output.append(answer)
            if isinstance(outcome, JobResult):
                counts.completed += 1
                counts.tokens += outcome.usage.tokens
                counts.images += outcome.usage.images
            else:
                self._errors.append(self._error_line(line, outcome))
                counts.failed += 1
            counts.done += 1

    def _answer_line(self, line: Line, order: Order, outcome: JobResult, seconds: float) -> str | JobError:
        try:
            body = response_of(self._endpoint, order, outcome, self._about, seconds)
            return self._line(line, {"status_code": 200, "body": body}, None)
        except Exception as error:  # as a number that JSON has no word for
            logger.error("%s: line %d: %s", self._held.lease.job, line.number, type(error).__name__)
            return JobError("worker_error", f"the worker failed: {type(error).__name__}")

    def _order(self, line: Line) -> Order | JobError:
        if line.error is not None:
            return line.error
        try:
            return order_of(self._endpoint, line.body, self._about)
        except JobError as error:
            return error
        except Exception as error:  # of this line alone, whatever it is
            logger.error("%s: line %d: %s", self._held.lease.job, line.number, type(error).__name__)
            return JobError("invalid_input", f"the body cannot be read: {type(error).__name__}")

    def _compute(self, orders: list[Order]) -> list[tuple[JobResult | JobError, float]]:
        """One outcome for each, with its share of the time."""
        if not orders:
            return []
        started = time.monotonic()
        try:
            outcomes = self._task(orders)
        except JobError:
            raise
        except Exception as error:
            if len(orders) == 1:
                logger.exception("%s: a line failed for a reason that nobody foresaw", self._held.lease.job)
                outcomes = [JobError("worker_error", f"the worker failed: {type(error).__name__}")]
            else:  # so that one line does not take its neighbours with it
                return [outcome for order in orders for outcome in self._compute([order])]
        seconds = time.monotonic() - started
        self._held.add_gpu_seconds(seconds)
        for outcome in outcomes:
            if isinstance(outcome, JobError) and outcome.retryable:
                raise outcome  # of this machine, not of the line
        return [(outcome, seconds / len(orders)) for outcome in outcomes]

    def _task(self, orders: list[Order]) -> list[JobResult | JobError]:
        from flava_gpu.worker.machine import BATCH_TASKS  # PyTorch is there by now

        return BATCH_TASKS[self._endpoint](self._runtime, [order.given for order in orders], self._turn)

    def _line(self, line: Line, response: dict[str, Any] | None, error: dict[str, Any] | None) -> str:
        # Made of the job and the line, so that a line done twice would show.
        request_id = hashlib.sha256(f"{self._held.lease.job}:{line.number}".encode()).hexdigest()[:24]
        told = None if response is None else {"request_id": f"req_{request_id}", **response}
        whole = {"id": f"batch_req_{request_id}", "custom_id": line.custom_id, "response": told, "error": error}
        # ASCII: a custom_id may hold half a surrogate pair, for which UTF-8 has no bytes.
        return json.dumps(whole, allow_nan=False, separators=(",", ":"))

    def _error_line(self, line: Line, error: JobError) -> str:
        """What the route would have answered, where the line held a request; and, as `error`, what and where it is."""
        told = {**error.to_json(), "line": line.number}
        if line.error is not None:
            return self._line(line, None, told)
        status = STATUSES.get(error.code, BAD_REQUEST)
        kind = "server_error" if status == SERVER_ERROR else "invalid_request_error"
        body = {"error": {"message": told["message"], "type": kind, "param": told["param"], "code": error.code}}
        return self._line(line, {"status_code": status, "body": body}, told)

    def _tell(self, counts: Counts, eta_seconds: float | None) -> None:
        eta = None if eta_seconds is None else round(eta_seconds, 3)
        self._held.progress(counts.done, counts.total, "requests", eta, counts.to_json())

    def _save(self, counts: Counts, transfer: Transfer) -> None:
        objects = [item for file in (self._output, self._errors) for item in file.upload(transfer)]
        metrics = {name: getattr(counts, name) for name in ("completed", "failed", "tokens", "images")}
        self._held.announce(Checkpoint(counts.done, tuple(objects), metrics))
        self._flush()

    def _save_what_is_there(self, counts: Counts) -> None:
        """Before the job is left: as well as it goes, since it is left for another reason."""
        try:
            if counts.done > 0 and self._held.is_worth_keeping():
                self._save(counts, self._transfer.undisturbed())
        except Exception as error:
            logger.warning("%s: no last checkpoint: %s", self._held.lease.job, error)

    def _restore(self, counts: Counts) -> None:
        resume = self._held.lease.resume
        if resume is None:
            return
        for file in (self._output, self._errors):
            file.restore(resume.objects, self._transfer)
        counts.done = resume.step
        for name in ("completed", "failed", "tokens", "images"):
            setattr(counts, name, int(resume.metrics[name]))
        self._held.log("info", f"going on after request {counts.done} of {counts.total}")
