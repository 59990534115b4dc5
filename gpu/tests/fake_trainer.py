"""Stands in for the training process: what it prints and how it ends stand in the job's method; it imports no torch."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from flava_gpu.finetune.protocol import TrainingJob

JOB = TrainingJob.read(Path(sys.argv[sys.argv.index("--job") + 1]))
WORK = Path(sys.argv[sys.argv.index("--workdir") + 1])


def tell(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def checkpoint(step: int) -> None:
    folder = WORK / f"step-{step}"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"step": step}))
    tell({"type": "checkpoint", "step": step, "folder": folder.name, "files": ["state.json"], "metrics": {"loss": 0.5}})


def stop(*_: object) -> None:
    checkpoint(99)
    tell({"type": "stopped", "step": 99})
    sys.exit(75)


signal.signal(signal.SIGTERM, stop)
print("a library's stray line", flush=True)
tell({"type": "log", "level": "info", "message": f"data: {Path(JOB.training).read_text()}"})
if JOB.resume is not None:
    tell({"type": "log", "level": "info", "message": (Path(JOB.resume.folder) / "state.json").read_text()})
tell({"type": "metrics", "step": 1, "values": {"train_loss": 0.25}})
tell({"type": "progress", "done": 1, "total": 2, "unit": "steps", "eta_seconds": 1.0})
checkpoint(1)
match JOB.method:
    case "supervised":
        (WORK / "out").mkdir()
        (WORK / "out" / "config.json").write_text("{}")
        (WORK / "out" / "metrics.csv").write_text("step,loss\n")
        done = {"type": "done", "model_folder": "out", "model_files": ["config.json"], "heads": ["classification"]}
        done |= {"labels": ["a"], "metrics": {"valid_accuracy": 1.0}, "trained_tokens": 7, "trained_images": 2}
        tell({**done, "results_folder": "out", "result_files": ["metrics.csv"]})
    case "contrastive":
        (WORK.parents[1] / "pid").write_text(str(os.getpid()))
        while True:
            time.sleep(0.02)
    case "linear_probe":
        tell(
            {
                "type": "error",
                "code": "invalid_data",
                "message": "line 7: no label",
                "param": "training",
                "line": 7,
                "exit_code": 65,
            }
        )
        sys.exit(65)
    case _:
        sys.exit("boom")
