"""The labelled sets' rows, checked: every fault of a file with its line number. docs/data.md has the columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flava_gpu.evaluation.errors import DataMissingError, EvaluationDataError
from flava_gpu.jsonl import Faults, lines_of, parse_line
from flava_gpu.training.errors import TrainingError

Row = dict[str, Any]
COMMAND = "npm run data -- labelled"
SPLITS = ("train", "valid", "test")
OF_ALL = ("id", "label", "group", "split")
OWN: dict[str, tuple[str, ...]] = {
    "mnist": ("image",),
    "glosses": ("text",),
    "words": ("text",),
    "mail": ("text",),
    "word-pairs": ("first", "second"),
    "emoji-emotion": ("key", "text"),
}
"""Columns by set; all are texts, and none is empty."""


def read_labelled(folder: Path, name: str) -> list[Row]:
    """Raises DataMissingError where the file is not there, EvaluationDataError with the lines of what is wrong in it."""
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        raise DataMissingError(f"{path} is missing: run `{COMMAND}` first")
    faults = Faults(str(path))
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for line, _, encoded in lines_of(path, faults):
        row = parse_line(encoded, line, faults, ())
        if row is not None:
            if (fault := _fault(row, name, seen, line)) is not None:
                faults.error(line, fault)
            rows.append(row)
        if faults.is_full:
            break
    try:
        faults.raise_if_any()
    except TrainingError as error:
        raise EvaluationDataError(str(error)) from error
    return rows


def _fault(row: Row, name: str, seen: dict[str, int], line: int) -> str | None:
    for column in (*OF_ALL, *OWN[name]):
        if not isinstance(row.get(column), str) or not row[column].strip():
            return f"{column!r}: expected a text"
    if row["split"] not in SPLITS:
        return f"'split': expected one of {', '.join(SPLITS)}, found {row['split']!r}"
    first = seen.setdefault(row["id"], line)
    return None if first == line else f"'id' {row['id']!r} stands in line {first} too"
