"""The emoji set of `npm run data` as evaluation sees it: plain pictures of concepts, with their styles and splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flava_gpu.evaluation.errors import DataMissingError, EvaluationDataError
from flava_gpu.pairs import Role, Split, read_rows
from flava_gpu.training.errors import TrainingError


@dataclass(frozen=True)
class Picture:
    path: Path
    concept: str
    """Key of the concept it shows."""
    style: str
    role: Role
    split: Split
    """Of the concept."""
    name: str
    group: str
    subgroup: str
    tags: tuple[str, ...]
    """English phrases, name first: CLDR's, then those of emojibase and emojilib."""


def read_pictures(data: Path) -> list[Picture]:
    """Without skin tones, country flags and extras. Raises DataMissingError naming the command that makes the data."""
    try:
        rows = read_rows(data)
    except FileNotFoundError as error:
        raise DataMissingError(str(error)) from error
    except TrainingError as error:
        raise EvaluationDataError(str(error)) from error
    try:
        return [_picture(data, row) for row in rows if row["kind"] == "concept" and not row["skin"]]
    except KeyError as error:
        raise EvaluationDataError(f"{data / 'pairs.jsonl'}: a row lacks {error}") from error


def of(pictures: Sequence[Picture], role: Role, split: Split) -> list[Picture]:
    """Those of the styles with `role` and the concepts of `split`."""
    return [picture for picture in pictures if picture.role == role and picture.split == split]


def _picture(data: Path, row: dict[str, Any]) -> Picture:
    return Picture(
        path=data / "images" / row["image"],
        concept=row["key"],
        style=row["style"],
        role=row["style_role"],
        split=row["concept_split"],
        name=row["name"],
        group=row["group"],
        subgroup=row["subgroup"],
        tags=tuple(row["captions"]["en"]),
    )
