"""The rows of a JSONL data set: what columns a method takes, and every fault of a file with its line number.

Reads text and references to pictures; opening the pictures is pictures.py's. Imports no torch.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flava_gpu.jsonl import Faults, kind_of, lines_of, parse_line

Inputs = Literal["text", "image", "pair"]
"""What a row gives the model: text alone, a picture alone, or both."""
Target = Literal["label", "value", "pair"]
"""What a method learns from: a class, a number, or that picture and text belong together."""

MIN_ROWS = 10
"""OpenAI's own least; a validation file may be shorter."""
MAX_LABELS = 10_000
COLUMNS = ("text", "texts", "image", "label", "value")
EXAMPLES: dict[Target, str] = {
    "label": '{"text": "…", "label": "…"}, {"image": "…", "label": "…"} or {"text": "…", "image": "…", "label": "…"}',
    "value": '{"text": "…", "value": 0.5}, {"image": "…", "value": 0.5} or {"text": "…", "image": "…", "value": 0.5}',
    "pair": '{"image": "…", "text": "…"} or {"image": "…", "texts": ["…", "…"]}',
}


MAX_NAME_CHARACTERS = 1024
IN_FILE = ""
"""Stands for a picture's text that is longer than any name: it is read from its line when it is needed."""


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    """In the file, from 1."""
    offset: int
    """Of the line's first byte; an inline picture is read from there again when it is needed."""
    length: int
    texts: tuple[str, ...]
    image: str | None
    """A data URI, base64 or a name in the archives; IN_FILE when it is long, None where the row has no picture."""
    label: str | None
    value: float | None

    @property
    def inputs(self) -> Inputs:
        if self.image is None:
            return "text"
        return "pair" if self.texts else "image"


def read_rows(path: Path, target: Target, faults: Faults, *, allows_text_only: bool = False) -> list[Row]:
    """All rows of a file, its faults noted; rows with faults are left out. Stops when `faults` is full.

    `allows_text_only`: beside pairs, for pretraining.
    """
    rows: list[Row] = []
    unused: Counter[str] = Counter()
    for line, offset, encoded in lines_of(path, faults):
        fields = parse_line(encoded, line, faults, COLUMNS)
        if fields is not None:
            unused.update(key for key in fields if key not in COLUMNS)
            row = to_row(fields, line, offset, len(encoded), target, faults, allows_text_only=allows_text_only)
            if row is not None:
                rows.append(row)
        if faults.is_full:
            break
    if unused:
        names = ", ".join(repr(name) for name, _ in unused.most_common(5))
        faults.warnings.append(f"{faults.param}: columns that are not used: {names}")
    return rows


def to_row(
    fields: dict[str, Any],
    line: int,
    offset: int,
    length: int,
    target: Target,
    faults: Faults,
    *,
    allows_text_only: bool,
) -> Row | None:
    try:
        check_columns(fields, target, allows_text_only=allows_text_only)
        return Row(
            line,
            offset,
            length,
            texts=texts_of(fields),
            image=image_of(fields),
            label=label_of(fields) if target == "label" else None,
            value=value_of(fields) if target == "value" else None,
        )
    except ValueError as error:
        faults.error(line, str(error))
        return None


def check_columns(fields: dict[str, Any], target: Target, *, allows_text_only: bool) -> None:
    has_text, has_image = "text" in fields or "texts" in fields, "image" in fields
    if target == "pair":
        is_enough = has_text and (has_image or allows_text_only)
    else:
        is_enough = target in fields and ("text" in fields or has_image)
    if is_enough:
        if "text" in fields and "texts" in fields:
            raise ValueError("has both 'text' and 'texts': expected one of them")
        if "texts" in fields and target != "pair":
            raise ValueError("'texts' is for contrastive and pretrain; expected 'text'")
        return
    found = ", ".join(repr(key) for key in fields) or "none"
    slips = {key: near[0] for key in fields if key not in COLUMNS and (near := difflib.get_close_matches(key, COLUMNS))}
    hint = "".join(f"; {key!r} looks like {near!r}" for key, near in slips.items())
    if "messages" in fields:
        hint = "; chat messages are for language models"
    expected = EXAMPLES[target] + (', or {"text": "…"} alone' if allows_text_only else "")
    raise ValueError(f"columns found: {found}; expected {expected}{hint}")


def texts_of(fields: dict[str, Any]) -> tuple[str, ...]:
    if "text" not in fields and "texts" not in fields:
        return ()
    texts = [fields["text"]] if "text" in fields else fields["texts"]
    if not isinstance(texts, list) or not texts:
        raise ValueError(f"'texts': expected a list of texts, found {kind_of(texts)}")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"'text': expected a string, found {kind_of(text)}")
        if not text.strip():
            raise ValueError("'text' is empty")
    return tuple(dict.fromkeys(texts))


def image_of(fields: dict[str, Any]) -> str | None:
    if "image" not in fields:
        return None
    image = fields["image"]
    if not isinstance(image, str):
        raise ValueError(f"'image': expected a data URI, base64 or a name in the archives, found {kind_of(image)}")
    if not image.strip():
        raise ValueError("'image' is empty")
    if image.startswith(("http://", "https://")):
        raise ValueError("'image' is a URL; pictures are not fetched: send a data URI, or an archive with names")
    return image if len(image) <= MAX_NAME_CHARACTERS else IN_FILE


def label_of(fields: dict[str, Any]) -> str:
    label = fields["label"]
    if isinstance(label, bool):
        return "true" if label else "false"
    if isinstance(label, int):
        return str(label)
    if not isinstance(label, str):
        raise ValueError(f"'label': expected a string, found {kind_of(label)}")
    if not label.strip():
        raise ValueError("'label' is empty")
    return label


def value_of(fields: dict[str, Any]) -> float:
    value = fields["value"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"'value': expected a number, found {kind_of(value)}")
    if not math.isfinite(value) or abs(value) > 1e30:
        raise ValueError("'value': expected a finite number")
    return float(value)
