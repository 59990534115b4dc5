"""What a checkpoint says of its making, training.json: every stage that led to it, its own last, and the heads that were trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flava_gpu.checkpoint import versions
from flava_gpu.training.config import OptimizationConfig, as_plain
from flava_gpu.training.run import TrainingRun

RECORD_FILE = "training.json"


def training_record(
    stage: str,
    run: TrainingRun,
    config: Any,
    optimization: OptimizationConfig,
    heads: list[str],
    metrics: dict[str, Any],
    sources: list[Path],
) -> dict[str, Any]:
    """`sources`: checkpoint folders that this stage began with; their stages come first, each once."""
    earlier = {item["name"]: item for source in sources for item in read_stages(source)}
    own = {
        "name": config.name,
        "stage": stage,
        "updates": optimization.updates,
        "batch_size": optimization.batch_size,
        "learning_rate": optimization.learning_rate,
        "seconds": round(run.seconds),
    }
    return {
        "heads": heads,
        "stages": [*earlier.values(), own],
        "data_manifest": run.identity["data"],
        "config": as_plain(config),
        "versions": versions(),
        "metrics": metrics,
    }


def read_stages(folder: Path) -> list[dict[str, Any]]:
    """None for a checkpoint from elsewhere."""
    path = folder / RECORD_FILE
    return json.loads(path.read_text(encoding="utf-8")).get("stages", []) if path.is_file() else []
