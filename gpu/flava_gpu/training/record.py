"""What a checkpoint says of its making, training.json: every stage that led to it, its own last, and the heads that were trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flava_gpu.checkpoint import versions
from flava_gpu.trained_heads import HEAD_RESTS_ON, RECORD_FILE, heads_after
from flava_gpu.training.config import OptimizationConfig, as_plain
from flava_gpu.training.initialization import Loaded
from flava_gpu.training.run import TrainingRun


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
    """`heads` that this stage trains. `tools`: further checkpoints that it used, as its codebook. The stages of all of these and
    of `loaded` come first, each once.

    A head that came trained with `loaded` counts too, as the MLM head does after a stage that trains the multimodal encoder
    alone; not when this stage has trained on, without it, what it answers from.
    """
    sources = [*(part.source for part in loaded), *tools]
    earlier = {item["name"]: item for source in sources for item in stages_of(source)}
    brought = [head for head in HEAD_RESTS_ON if any(_brings(part, head) for part in loaded)]
    moved = [name for name, parameter in run.module.named_parameters() if parameter in run.optimizer.state]
    trained = heads_after(brought, heads, moved)
    own = {
        "name": config.name,
        "stage": stage,
        "updates": optimization.updates,
        "batch_size": optimization.batch_size,
        "learning_rate": optimization.learning_rate,
        "seconds": round(run.seconds),
    }
    return {
        "heads": [head for head in HEAD_RESTS_ON if head in trained],
        "stages": [*earlier.values(), own],
        "data_manifest": run.identity["data"],
        "config": as_plain(config),
        "versions": versions(),
        "metrics": metrics,
    }


def stages_of(folder: Path) -> list[dict[str, Any]]:
    """That led to a checkpoint, each with its configuration."""
    record = read_record(folder)
    stages = record.get("stages", [])
    return [*stages[:-1], *({**own, "config": record["config"]} for own in stages[-1:])]


def read_record(folder: Path) -> dict[str, Any]:
    """Empty for a checkpoint from elsewhere."""
    path = folder / RECORD_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _brings(part: Loaded, head: str) -> bool:
    """With all that it answers from; a checkpoint without a record was trained in whatever it holds."""
    is_whole = all(any(name.startswith(prefix) for name in part.loaded) for prefix in HEAD_RESTS_ON[head])
    return is_whole and head in read_record(part.source).get("heads", HEAD_RESTS_ON)
