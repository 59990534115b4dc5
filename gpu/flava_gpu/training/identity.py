"""What a run is: whoever goes on with a checkpoint must have the same, or the run would be of two halves that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flava_gpu.file_hash import sha256_of_file
from flava_gpu.training.config import as_plain

FREE_KEYS = ("logging", "output", "strategy")
FREE_OPTIMIZATION_KEYS = ("threads",)
"""What may change while a run goes on: where and how it runs, not what it computes."""


def run_identity(config: Any, data: str, sources: Sequence[Path] = ()) -> dict[str, Any]:
    """JSON of the configuration, the data's hash and the weights of the earlier stages that it rests on.

    `sources`: their folders, each with a model.safetensors. Frozen weights and visual tokens are in no checkpoint of the run.
    """
    plain = {key: value for key, value in as_plain(config).items() if key not in FREE_KEYS}
    plain["optimization"] = {
        key: value for key, value in plain["optimization"].items() if key not in FREE_OPTIMIZATION_KEYS
    }
    weights = {source.as_posix(): sha256_of_file(source / "model.safetensors") for source in sources}
    return {"config": plain, "data": data, "sources": weights}
