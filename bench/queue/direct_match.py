"""What a multimodal match takes without a queue: reads bodies of POST /v1/multimodal/match, a line each, and answers with
the milliseconds of the worker's own computation and its score.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from flava_gpu.worker.catalog import ModelCatalog
from flava_gpu.worker.job import JobError
from flava_gpu.worker.tasks.match import run_match
from flava_gpu.worker.tasks.runtime import load_runtime


def main() -> None:
    torch.set_num_threads(1)
    model = ModelCatalog(Path("models")).find("flava-emoji")
    assert model is not None
    runtime = load_runtime(model.folder, model.heads, "cpu")
    for line in sys.stdin:
        (pair,) = json.loads(line)["pairs"]
        job_input = {"images": [pair["image"]], "texts": [pair["text"]], "pairs": [[0, 0]]}
        started = time.perf_counter()
        (result,) = run_match(runtime, [job_input])
        ms = (time.perf_counter() - started) * 1000
        if isinstance(result, JobError):
            raise result
        assert isinstance(result.result, dict)
        print(json.dumps({"ms": ms, "score": result.result["scores"][0]}), flush=True)


if __name__ == "__main__":
    main()
