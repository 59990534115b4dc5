"""A fine-tuning job: the training process is started, listened to, and stopped; what it leaves is uploaded.

Training runs in a process of its own (finetune/protocol.py says how to talk to it): a crash in it is an exit code here, its
memory goes with it, and torchrun can start one for each GPU. Imports no torch.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from flava_gpu.finetune.protocol import (
    EXIT_DONE,
    EXIT_OUT_OF_MEMORY,
    EXIT_STOPPED,
    CheckpointEvent,
    DoneEvent,
    ErrorEvent,
    LogEvent,
    MetricsEvent,
    ProgressEvent,
    ResumePoint,
    StoppedEvent,
    TrainingEvent,
    TrainingJob,
    parse_event,
)
from flava_gpu.training.errors import EXIT_BAD_DATA
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.job import JobError, JobResult, LeaseLostError, StoppedError, Usage
from flava_gpu.worker.messages import Checkpoint, Device, JobObject
from flava_gpu.worker.model_store import MODEL_PREFIX, ModelStore
from flava_gpu.worker.transfer import Transfer

logger = logging.getLogger(__name__)

STOP_SECONDS = 120.0
"""After SIGTERM the process finishes its step and writes a checkpoint; then it is killed."""
POLL_SECONDS = 0.2
KEPT_STDERR_LINES = 40
SECRET_NAME = re.compile("TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY", re.IGNORECASE)
CHECKPOINT_PREFIX = "checkpoint/"
RESULTS_PREFIX = "results/"


@dataclass
class Outcome:
    """What the process has said so far of how it ends."""

    done: DoneEvent | None = None
    error: ErrorEvent | None = None
    stopped: StoppedEvent | None = None
    stderr: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_STDERR_LINES))


class TrainingRun:
    """RunLong for fine-tuning."""

    def __init__(
        self,
        store: ModelStore[Any],
        device: Device,
        gpus: int,
        workdir: Path,
        threads: int | None = None,
        command: Callable[[list[str], int], list[str]] | None = None,
    ) -> None:
        """`command` makes the process's command line of its arguments and the number of GPUs; a test gives its own."""
        self._store = store
        self._device: Device = device
        self._gpus = gpus
        self._workdir = workdir
        self._threads = threads
        self._command = command or training_command

    def __call__(self, held: HeldJob, given: Any, transfer: Transfer, flush: Callable[[], None]) -> JobResult:
        folder = Path(tempfile.mkdtemp(prefix="training-", dir=self._workdir))
        try:
            with self._store.kept_files(held.lease.model):
                return self._train(held, given, transfer, flush, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _train(
        self, held: HeldJob, given: Any, transfer: Transfer, flush: Callable[[], None], folder: Path
    ) -> JobResult:
        job = self._prepare(held, given, transfer, folder)
        job.write(folder / "job.json")
        work = folder / "work"
        work.mkdir()
        arguments = ["--job", str(folder / "job.json"), "--workdir", str(work)]
        outcome = Outcome()
        uploads = CheckpointUploads(held, transfer, flush, work)
        code = self._listen(held, self._command(arguments, self._gpus), work, outcome, uploads)
        if outcome.done is not None:
            if code != EXIT_DONE:
                logger.warning("%s: training ended with code %d after it was done", held.lease.job, code)
            return self._bring(outcome.done, transfer, work)
        held.check()
        raise failure_of(code, outcome)

    def _prepare(self, held: HeldJob, given: Any, transfer: Transfer, folder: Path) -> TrainingJob:
        objects = {item.name: item for item in held.lease.objects}

        def fetch(name: str) -> str:
            if name not in objects:
                raise JobError("invalid_input", f"{name} is not among the job's objects")
            path = folder / "data" / name
            transfer.read(objects[name], path)
            return str(path)

        checkpoint, heads = self._store.locate(held.lease.model, transfer.read)
        method = given["method"]
        return TrainingJob(
            job=held.lease.job,
            base_checkpoint=str(checkpoint.resolve()),
            base_model=held.lease.model.id,
            method=method["type"],
            hyperparameters=method["hyperparameters"],
            seed=given["seed"],
            training=fetch(given["training"]),
            validation=None if given["validation"] is None else fetch(given["validation"]),
            media=[fetch(name) for name in given["media"]],
            resume=self._resume(held, transfer, folder),
            device=self._device,
            base_heads=list(heads),
            threads=self._threads,
        )

    def _resume(self, held: HeldJob, transfer: Transfer, folder: Path) -> ResumePoint | None:
        resume = held.lease.resume
        if resume is None:
            return None
        target = folder / "resume"
        for item in resume.objects:
            transfer.read_checkpoint(item, target / item.name.rpartition("/")[2])
        held.log("info", f"going on from the checkpoint of step {resume.step}")
        return ResumePoint(resume.step, str(target), resume.metrics)

    def _listen(
        self, held: HeldJob, command: list[str], work: Path, outcome: Outcome, uploads: CheckpointUploads
    ) -> int:
        """Until the process has ended. @returns its exit code"""
        process = start(command, work)
        assert process.stdout is not None
        assert process.stderr is not None
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=read_lines, args=(process.stdout, lines), daemon=True)
        complaints = threading.Thread(target=keep_lines, args=(process.stderr, outcome.stderr), daemon=True)
        reader.start()
        complaints.start()
        clock = time.monotonic()
        kill_at: float | None = None
        try:
            while True:
                kill_at = self._stop_if_asked(held, process, kill_at)
                try:
                    line = lines.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    line = ""
                now = time.monotonic()
                held.add_gpu_seconds((now - clock) * max(1, self._gpus))
                clock = now
                if line is None:
                    break
                if line:
                    relay(line, held, outcome, uploads)
            code = process.wait()
            complaints.join(timeout=5)
            return code
        finally:
            end(process)

    def _stop_if_asked(self, held: HeldJob, process: subprocess.Popen[str], kill_at: float | None) -> float | None:
        """SIGTERM when the job is to stop, SIGKILL when it is of no use any more. @returns when patience ends"""
        try:
            held.check()
        except LeaseLostError:
            end(process)
            raise
        except (StoppedError, JobError) as error:
            is_useless = isinstance(error, JobError) or error.reason == "cancelled"
            if kill_at is None and is_useless:
                end(process)
                raise
            if kill_at is None:
                process.send_signal(signal.SIGTERM)
                return time.monotonic() + STOP_SECONDS
            if time.monotonic() > kill_at:
                logger.error("%s: training did not stop, it is killed", held.lease.job)
                end(process)
                raise
        return kill_at

    def _bring(self, done: DoneEvent, transfer: Transfer, work: Path) -> JobResult:
        model = upload_all(transfer, work / done.model_folder, done.model_files, MODEL_PREFIX)
        results: list[JobObject] = []
        if done.results_folder is not None:
            results = upload_all(transfer, work / done.results_folder, done.result_files, RESULTS_PREFIX)
        result = {
            "model_objects": [item.name for item in model],
            "heads": done.heads,
            "labels": done.labels,
            "metrics": done.metrics,
            "trained_tokens": done.trained_tokens,
        }
        return JobResult(result, Usage(done.trained_tokens, done.trained_images), [*model, *results])


@dataclass
class CheckpointUploads:
    """Uploads what the process announces, and deletes it once a later one is up."""

    held: HeldJob
    transfer: Transfer
    flush: Callable[[], None]
    work: Path
    _previous: Path | None = None

    def upload(self, event: CheckpointEvent) -> None:
        """A checkpoint that cannot be uploaded costs safety, not the run."""
        folder = self.work / event.folder
        prefix = f"{CHECKPOINT_PREFIX}{event.step}/"
        try:
            objects = upload_all(self.transfer.undisturbed(), folder, event.files, prefix)
        except JobError as error:
            logger.warning("%s: the checkpoint of step %d: %s", self.held.lease.job, event.step, error)
            self.held.log("warn", f"the checkpoint of step {event.step} could not be kept: {error.code}")
            return
        self.held.announce(Checkpoint(event.step, tuple(objects), event.metrics))
        self.flush()
        if self._previous is not None and self._previous != folder:
            shutil.rmtree(self._previous, ignore_errors=True)
        self._previous = folder


def training_command(arguments: list[str], gpus: int) -> list[str]:
    """One process, or torchrun with one for each GPU."""
    if gpus <= 1:
        return [sys.executable, "-m", "flava_gpu.finetune", *arguments]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
    return [*launcher, "-m", "flava_gpu.finetune", *arguments]


def start(command: list[str], work: Path) -> subprocess.Popen[str]:
    """Under a supervisor, which ends the process when this worker is gone."""
    return subprocess.Popen(
        [sys.executable, "-m", "flava_gpu.worker.supervise", *command],
        cwd=work,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # a Ctrl-C is the worker's to pass on
    )


def environment() -> dict[str, str]:
    """Without secrets, this worker's token among them: the process parses archives and pictures of whoever sends them."""
    kept = {name: value for name, value in os.environ.items() if not SECRET_NAME.search(name)}
    return {**kept, "PYTHONPATH": python_path()}


def python_path() -> str:
    ours = str(Path(__file__).parents[2])
    theirs = os.environ.get("PYTHONPATH")
    return ours if not theirs else f"{ours}{os.pathsep}{theirs}"


def end(process: subprocess.Popen[str]) -> None:
    """The supervisor kills the whole group when its stdin ends."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
        return
    process.kill()
    process.wait()


def read_lines(stream: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in stream:
        lines.put(line.strip())
    lines.put(None)


def keep_lines(stream: IO[str], kept: deque[str]) -> None:
    for line in stream:
        kept.append(line.rstrip())
        logger.debug("training: %s", line.rstrip())


def relay(line: str, held: HeldJob, outcome: Outcome, uploads: CheckpointUploads) -> None:
    """One line of the process: on to the heartbeat, or kept for the end."""
    try:
        event: TrainingEvent = parse_event(line)
    except ValueError:
        logger.info("training: %s", line)
        return
    match event:
        case LogEvent():
            held.log(event.level, event.message)
        case MetricsEvent():
            held.metrics(event.step, event.values)
        case ProgressEvent():
            held.progress(event.done, event.total, event.unit, event.eta_seconds)
        case CheckpointEvent():
            uploads.upload(event)
        case DoneEvent():
            outcome.done = event
        case ErrorEvent():
            outcome.error = event
        case StoppedEvent():
            outcome.stopped = event


def failure_of(code: int, outcome: Outcome) -> JobError:
    """By the exit code, or, where torchrun hides it, by what the process said."""
    if outcome.error is not None:
        code = outcome.error.exit_code
        told = outcome.error
        is_final = code == EXIT_BAD_DATA
        return JobError(told.code, told.message, retryable=not is_final, param=told.param, line=told.line)
    for line in outcome.stderr:
        logger.error("training: %s", line)
    if code == EXIT_OUT_OF_MEMORY:
        return JobError("out_of_memory", "training ran out of memory", retryable=True)
    if code == EXIT_STOPPED or outcome.stopped is not None:
        return JobError("training_stopped", "training was stopped from outside", retryable=True)
    if code == EXIT_BAD_DATA:
        return JobError("invalid_data", "training refused its data without saying why")
    return JobError("training_crashed", f"the training process ended with code {code}", retryable=True)


def upload_all(transfer: Transfer, folder: Path, files: list[str], prefix: str) -> list[JobObject]:
    return [transfer.write(f"{prefix}{name}", folder / name) for name in files]
