"""scores.json beside a model package: the record that its card is written from. Scores of other weights are not kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flava_gpu.evaluation.retrieval_suite import Cost, Row
from flava_gpu.evaluation.targets import Line

FILE = "scores.json"


def save_retrieval(
    package: Path, origin: dict[str, Any], rows: Sequence[Row], costs: Sequence[Cost], gate: float
) -> Path:
    ordered = sorted(rows, key=lambda row: row.direction)
    quantization = {"gate_points": gate, "costs": [cost.to_json() for cost in costs]}
    kept = {key: value for key, value in read_saved(package, origin).items() if key == "targets"}
    return _write(package, {**origin, "quantization": quantization, "rows": [row.to_json() for row in ordered], **kept})


def save_targets(package: Path, origin: dict[str, Any], lines: Sequence[Line]) -> Path:
    kept = read_saved(package, origin)
    record = kept or {**origin, "rows": []}
    table = {key: origin[key] for key in ("command", "date", "cpu", "engine", "data")}
    return _write(package, {**record, "targets": {**table, "lines": [line.to_json() for line in lines]}})


def read_saved(package: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """What is there for the same weights; empty otherwise."""
    path = package / FILE
    if not path.is_file():
        return {}
    saved = json.loads(path.read_text(encoding="utf-8"))
    return saved if saved.get("model", {}).get("weights") == origin["model"].get("weights") else {}


def _write(package: Path, record: dict[str, Any]) -> Path:
    path = package / FILE
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return path
