"""How a worker starts a fine-tuning process and what the process tells: the job file, event lines, exit codes.

The process reads `job.json` (TrainingJob), writes one JSON object a line to stdout and nothing else there (free text goes to
stderr), and ends with one of `done`, `interrupted` or `error`. Imports no torch, so that the worker loop can use it.

Events, each with a `type`:

    log          {level: info|warn|error, message}
    metrics      {step, values: {name: number}}
    progress     {done, total, unit, eta_seconds: number|null}
    checkpoint   {step, folder, metrics: {name: number}}   whole files, fit to be `resume` of another process
    done         {model_folder, heads, labels: [text]|null, metrics, trained_tokens, trained_images}
    interrupted  {step}                                    after SIGTERM or SIGINT, behind its checkpoint event
    error        {code, message, param, line, retryable}   the contract's JobError, and whether another try may help

A checkpoint is a flat folder of at most 8 files with names that the worker contract allows. The process keeps its last two and
removes older ones: a reader that wants one longer hard-links its files. SIGTERM before the first step leaves no checkpoint.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

EXIT_DONE = 0
EXIT_FINAL = 65
"""sysexits' EX_DATAERR: the data, the hyperparameters or the model do not allow it; another try ends the same."""
EXIT_RETRY = 70
"""EX_SOFTWARE: something broke (no memory, no disk); another try, or another machine, may succeed."""
EXIT_INTERRUPTED = 75
"""EX_TEMPFAIL: stopped when asked to. Under torchrun the exit code is torchrun's own: go by the last event."""

MAX_MESSAGE_CHARS = 4096


@dataclass(frozen=True)
class TrainingJob:
    """What one process works on. Paths are local; the seed is the input's own."""

    input: dict[str, Any]
    """`FineTuningInput` of the worker contract: method, seed, training, validation, media."""
    model_folder: Path
    """A Hugging Face checkpoint to start from: config.json, model.safetensors, tokenizer.json."""
    files: dict[str, Path]
    """The job's objects by the names that `input` uses."""
    resume: Path | None = None
    """A checkpoint folder of an earlier process of this job."""
    device: str = "cpu"
    heads: list[str] = field(default_factory=list[str])
    """Heads that the starting checkpoint has trained; kept where the method leaves what they rest on untouched."""
    threads: int | None = None
    """CPU threads; PyTorch's choice when None."""

    def save(self, path: Path) -> None:
        plain = asdict(self)
        plain |= {
            "model_folder": str(self.model_folder),
            "files": {name: str(file) for name, file in self.files.items()},
            "resume": None if self.resume is None else str(self.resume),
        }
        path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> TrainingJob:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            input=raw["input"],
            model_folder=Path(raw["model_folder"]),
            files={name: Path(file) for name, file in raw["files"].items()},
            resume=None if raw.get("resume") is None else Path(raw["resume"]),
            device=raw.get("device", "cpu"),
            heads=raw.get("heads", []),
            threads=raw.get("threads"),
        )


class JobError(Exception):
    """Why a job cannot go on: a stable `code`, whether another try may help, and the data file's line where it is known."""

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, param: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.param = param
        self.line = line


class Events:
    """Writes events as JSON lines. A silent one (ranks other than 0) writes nothing."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def log(self, message: str, level: str = "info") -> None:
        self._write("log", level=level, message=message[:MAX_MESSAGE_CHARS])

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self._write("metrics", step=step, values=values)

    def progress(self, done: int, total: int, unit: str, eta_seconds: float | None) -> None:
        self._write("progress", done=done, total=total, unit=unit, eta_seconds=eta_seconds)

    def checkpoint(self, step: int, folder: Path, metrics: dict[str, float]) -> None:
        self._write("checkpoint", step=step, folder=str(folder), metrics=metrics)

    def done(
        self,
        model_folder: Path,
        heads: list[str],
        labels: list[str] | None,
        metrics: dict[str, float],
        trained_tokens: int,
        trained_images: int,
    ) -> None:
        self._write(
            "done",
            model_folder=str(model_folder),
            heads=heads,
            labels=labels,
            metrics=metrics,
            trained_tokens=trained_tokens,
            trained_images=trained_images,
        )

    def interrupted(self, step: int) -> None:
        self._write("interrupted", step=step)

    def error(self, error: JobError) -> None:
        self._write(
            "error",
            code=error.code,
            message=str(error)[:MAX_MESSAGE_CHARS],
            param=error.param,
            line=error.line,
            retryable=error.retryable,
        )

    def _write(self, kind: str, **fields: Any) -> None:
        if self._stream is not None:
            self._stream.write(json.dumps({"type": kind, **fields}, allow_nan=False) + "\n")
            self._stream.flush()


def training_command(job_file: Path, workdir: Path, processes: int = 1) -> list[str]:
    """The command line of one training run; several `processes`, one a GPU, run under torchrun on this machine."""
    launcher = [sys.executable, "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return [*launcher, "flava_gpu.finetune", "--job", str(job_file), "--workdir", str(workdir)]
