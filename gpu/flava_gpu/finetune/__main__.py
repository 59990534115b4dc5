"""`python -m flava_gpu.finetune --job job.json --workdir DIR`: one run as a process; protocol.py says what it tells.

Signals are caught before anything heavy is imported, so that a worker may stop the process at any time.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from flava_gpu.finetune.protocol import (
    EXIT_DONE,
    EXIT_OUT_OF_MEMORY,
    EXIT_STOPPED,
    ErrorEvent,
    TrainingEvent,
    TrainingJob,
    emit,
)
from flava_gpu.training.errors import StoppedError, TrainingError, crash


class StopRequest:
    """Set by SIGTERM or SIGINT; the run looks at it between two steps."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)

    def _set(self, number: int, frame: object) -> None:
        self.is_set = True


def main() -> int:
    stop = StopRequest()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, required=True, help="everything the run writes")
    parser.add_argument(
        "--keep", type=int, default=None, help="checkpoints to leave; without it whoever reads them deletes them"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.captureWarnings(True)
    events = events_stream()
    is_main = int(os.environ.get("RANK", "0")) == 0

    def tell(event: TrainingEvent) -> None:
        if is_main:
            emit(event, events)

    try:
        work(TrainingJob.read(arguments.job), arguments.workdir.resolve(), arguments.keep, tell, stop)
    except StoppedError:
        return EXIT_STOPPED
    except TrainingError as error:
        tell(ErrorEvent.of(error))
        return error.exit_code
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        failure = as_training_error(error)
        tell(ErrorEvent.of(failure))
        return failure.exit_code
    return EXIT_DONE


def work(
    job: TrainingJob, workdir: Path, kept: int | None, tell: Callable[[TrainingEvent], None], stop: StopRequest
) -> None:
    # Imported here: PyTorch takes seconds, in which a signal must not kill the process.
    from transformers.utils import logging as transformers_logging

    from flava_gpu.distributed import join_ranks, leave_ranks
    from flava_gpu.finetune.outcome import Reporter
    from flava_gpu.finetune.run import run

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    ranks = join_ranks(job.device)
    try:
        if ranks.count > 1 and job.device == "cuda":
            job = replace(job, device=f"cuda:{os.environ['LOCAL_RANK']}")
        run(job, workdir, ranks, Reporter(tell, lambda: stop.is_set), kept)
    finally:
        leave_ranks(ranks)


def events_stream() -> TextIO:
    """The real stdout; what libraries print goes to stderr from here on, also from native code."""
    private = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return os.fdopen(private, "w", encoding="utf-8")


def as_training_error(error: Exception) -> TrainingError:
    """What went wrong that nobody foresaw, in words for the job's owner; the traceback stays on stderr."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        message = "the device has not enough memory: a smaller batch_size needs less"
        return TrainingError("out_of_memory", message, exit_code=EXIT_OUT_OF_MEMORY)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return crash("disk_full", "the worker's disk is full")
    return crash("internal_error", f"the run broke: {type(error).__name__}")


if __name__ == "__main__":
    sys.exit(main())
