"""Runs one command and outlives nobody: when whoever started this is gone, the command and all it started are killed.

    python -m flava_gpu.worker.supervise COMMAND [ARGUMENT…]

A worker that is killed without a word must not leave a training process on the GPU. The pipe on stdin ends with it, on
every system that Python runs on. SIGTERM is passed on; the exit code is the command's. Imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from types import FrameType


def supervise(command: list[str]) -> int:
    # A group of its own, so that all it starts can be signalled at once.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def pass_on(number: int, _: FrameType | None) -> None:
        # To the command alone: torchrun passes it on to its processes.
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # what the command left behind
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
