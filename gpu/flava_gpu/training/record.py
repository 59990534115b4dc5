"""What a checkpoint says of its making, training.json: every stage that led to it, its own last, and the heads that were trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flava_gpu.checkpoint import versions
from flava_gpu.training.config import OptimizationConfig, as_plain
from flava_gpu.training.initialization import Loaded
from flava_gpu.training.run import TrainingRun

RECORD_FILE = "training.json"
HEAD_PREFIXES = {
    "contrastive": "flava.image_projection.",
    "itm": "itm_head.",
    "mmm_text": "mmm_text_head.",
    "mmm_image": "mmm_image_head.",
    "mim": "mim_head.",
    "mlm": "mlm_head.",
}


def training_record(
    stage: str,
    run: TrainingRun,
    config: Any,
    optimization: OptimizationConfig,
    heads: Sequence[str],
    metrics: dict[str, Any],
    loaded: Sequence[Loaded] = (),
    tools: Sequence[Path] = (),
) -> dict[str, Any]:
    """`heads` that this stage trains; those that came trained with `loaded` count too. `tools`: further checkpoints that it
    used, as its codebook. The stages of all of these come first, each once."""
    sources = [*(part.source for part in loaded), *tools]
    earlier = {item["name"]: item for source in sources for item in read_record(source).get("stages", [])}
    brought = {head for part in loaded for head in read_record(part.source).get("heads", []) if _has(part, head)}
    own = {
        "name": config.name,
        "stage": stage,
        "updates": optimization.updates,
        "batch_size": optimization.batch_size,
        "learning_rate": optimization.learning_rate,
        "seconds": round(run.seconds),
    }
    return {
        "heads": [head for head in HEAD_PREFIXES if head in brought or head in heads],
        "stages": [*earlier.values(), own],
        "data_manifest": run.identity["data"],
        "config": as_plain(config),
        "versions": versions(),
        "metrics": metrics,
    }


def read_record(folder: Path) -> dict[str, Any]:
    """Empty for a checkpoint from elsewhere."""
    path = folder / RECORD_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _has(part: Loaded, head: str) -> bool:
    return any(name.startswith(HEAD_PREFIXES[head]) for name in part.loaded)
