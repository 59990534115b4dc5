"""What the worker loop and a training process say to each other. Neither side imports the other; this file imports no torch.

    python -m flava_gpu.finetune --job job.json --workdir DIR
    torchrun --nproc-per-node=N -m flava_gpu.finetune --job job.json --workdir DIR

The process reads `job.json` (a TrainingJob), writes nothing outside DIR and prints one JSON object a line on stdout, rank 0
alone; stderr is for people. SIGTERM asks for a checkpoint and an end: it finishes the step, writes and announces a
checkpoint, prints `stopped` and exits with STOPPED. The exit code is the verdict; a `done`, `stopped` or `error` line says
more, and is the verdict under torchrun, whose own exit code is 1 whatever its processes' was. SIGTERM while the data are
still being read leaves no checkpoint.

Every path in an event is relative to DIR, and every file name fits the contract's object names
(`[a-z0-9][a-z0-9._-]*`). Announced checkpoint folders are whole and are not written again; the worker deletes them once
they are uploaded and a later one is, so the process must not need them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from flava_gpu.training.errors import EXIT_CRASH, TrainingError

MAX_MESSAGE_CHARACTERS = 4096
"""Of the worker contract."""

EXIT_DONE = 0
EXIT_STOPPED = 75  # EX_TEMPFAIL: stopped on request, its checkpoint is announced
EXIT_OUT_OF_MEMORY = 71  # EX_OSERR: the device's memory; a larger device, or a smaller batch_size, may do


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint that this or another worker uploaded, downloaded again into `folder`."""

    step: int
    folder: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class TrainingJob:
    """`job.json`. Paths are absolute."""

    job: str
    base_checkpoint: str  # folder of a Hugging Face FLAVA checkpoint, possibly with head.json
    base_model: str  # its id, for the model card and the provenance
    method: str  # supervised | contrastive | linear_probe | pretrain
    hyperparameters: dict[str, Any]  # as in the contract's fine_tuning.input, `auto` kept as it came
    seed: int
    training: str  # JSONL
    validation: str | None
    media: list[str]  # zip or tar archives of pictures that rows name
    resume: ResumePoint | None
    device: Literal["cpu", "cuda", "mps"]
    base_heads: list[str] = field(default_factory=list[str])  # trained in base_checkpoint: a linear probe keeps them
    threads: int | None = None  # CPU threads; PyTorch's own choice when None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def read(path: Path) -> TrainingJob:
        raw = json.loads(path.read_text(encoding="utf-8"))
        resume = ResumePoint(**raw.pop("resume")) if raw["resume"] is not None else raw.pop("resume")
        return TrainingJob(**raw, resume=resume)


@dataclass(frozen=True)
class LogEvent:
    message: str
    level: Literal["info", "warn", "error"] = "info"
    type: Literal["log"] = "log"


@dataclass(frozen=True)
class MetricsEvent:
    step: int
    values: dict[str, float]  # train_loss, valid_loss, learning_rate, …; finite numbers only
    type: Literal["metrics"] = "metrics"


@dataclass(frozen=True)
class ProgressEvent:
    done: float
    total: float
    unit: str = "steps"
    eta_seconds: float | None = None
    type: Literal["progress"] = "progress"


@dataclass(frozen=True)
class CheckpointEvent:
    step: int
    folder: str  # relative to DIR
    files: list[str]  # names inside `folder`
    metrics: dict[str, float] = field(default_factory=dict)
    type: Literal["checkpoint"] = "checkpoint"


@dataclass(frozen=True)
class DoneEvent:
    """The last line of a run that ended well; uploaded as `model/<file>` and `results/<file>`."""

    model_folder: str
    model_files: list[str]
    heads: list[str]  # kinds.ts' HEADS that the new checkpoint has trained
    labels: list[str] | None
    metrics: dict[str, float]
    trained_tokens: int
    trained_images: int = 0
    results_folder: str | None = None
    result_files: list[str] = field(default_factory=list)  # metrics.csv and the like, given to the job's owner
    type: Literal["done"] = "done"


@dataclass(frozen=True)
class ErrorEvent:
    """Before an exit other than EXIT_DONE and EXIT_STOPPED. `line` is of the data file, from 1; `param` names the file."""

    code: str  # stable: invalid_data, missing_image, out_of_memory, …
    message: str
    param: str | None = None
    line: int | None = None
    exit_code: int = EXIT_CRASH  # what the process exits with, for a reader who sees only torchrun's
    type: Literal["error"] = "error"

    @classmethod
    def of(cls, error: TrainingError) -> ErrorEvent:
        message = str(error)
        if len(message) > MAX_MESSAGE_CHARACTERS:
            message = message[: MAX_MESSAGE_CHARACTERS - 1] + "…"
        return cls(error.code, message, error.param, error.line, error.exit_code)


@dataclass(frozen=True)
class StoppedEvent:
    """The last line after SIGTERM; `step` of the checkpoint announced before it, None when there was none to write."""

    step: int | None
    type: Literal["stopped"] = "stopped"


TrainingEvent = LogEvent | MetricsEvent | ProgressEvent | CheckpointEvent | DoneEvent | ErrorEvent | StoppedEvent

_EVENTS: dict[str, type[Any]] = {
    "log": LogEvent,
    "metrics": MetricsEvent,
    "progress": ProgressEvent,
    "checkpoint": CheckpointEvent,
    "done": DoneEvent,
    "error": ErrorEvent,
    "stopped": StoppedEvent,
}


def emit(event: TrainingEvent, stream: TextIO) -> None:
    """One line, flushed at once: the worker acts on it as it comes."""
    stream.write(json.dumps(asdict(event), allow_nan=False) + "\n")
    stream.flush()


def parse_event(line: str) -> TrainingEvent:
    """Raises ValueError for a line that is none, as a library's stray print."""
    try:
        raw = json.loads(line)
        return cast(TrainingEvent, _EVENTS[raw["type"]](**raw))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not an event of the training protocol: {error!r}") from error
