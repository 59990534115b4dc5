"""The rows of a JSONL data set: what columns a method takes, and every fault of a file with its line number.

Reads text and references to pictures; opening the pictures is pictures.py's. Imports no torch.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from flava_gpu.training.errors import TrainingError

Inputs = Literal["text", "image", "pair"]
"""What a row gives the model: text alone, a picture alone, or both."""
Target = Literal["label", "value", "pair"]
"""What a method learns from: a class, a number, or that picture and text belong together."""

MIN_ROWS = 10
"""OpenAI's own least; a validation file may be shorter."""
MAX_ERRORS = 20
MAX_LINE_BYTES = 96 * 1024 * 1024
"""A picture of 64 MiB as base64, with room for the rest."""
MAX_LABELS = 10_000
COLUMNS = ("text", "texts", "image", "label", "value")
EXAMPLES: dict[Target, str] = {
    "label": '{"text": "…", "label": "…"}, {"image": "…", "label": "…"} or {"text": "…", "image": "…", "label": "…"}',
    "value": '{"text": "…", "value": 0.5}, {"image": "…", "value": 0.5} or {"text": "…", "image": "…", "value": 0.5}',
    "pair": '{"image": "…", "text": "…"} or {"image": "…", "texts": ["…", "…"]}',
}


MAX_NAME_CHARACTERS = 1024
HALF_PAIR = re.compile("[\ud800-\udfff]")
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


@dataclass
class Faults:
    """Errors and warnings of one data file, the first MAX_ERRORS of the former kept."""

    param: str
    errors: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    warnings: list[str] = field(default_factory=list[str])

    def error(self, line: int, message: str) -> None:
        self.errors.append((line, message))

    @property
    def is_full(self) -> bool:
        return len(self.errors) >= MAX_ERRORS

    def raise_if_any(self, code: str = "invalid_data") -> None:
        if not self.errors:
            return
        self.errors.sort(key=lambda fault: fault[0])
        told = [f"line {line}: {message}" for line, message in self.errors[:MAX_ERRORS]]
        more = ["(the first of them; others may follow)"] if self.is_full else []
        raise TrainingError(
            code, f"{self.param}: " + "; ".join([*told, *more]), param=self.param, line=self.errors[0][0]
        )


def read_rows(path: Path, target: Target, faults: Faults, *, allows_text_only: bool = False) -> list[Row]:
    """All rows of a file, its faults noted; rows with faults are left out. Stops when `faults` is full.

    `allows_text_only`: beside pairs, for pretraining.
    """
    rows: list[Row] = []
    unused: Counter[str] = Counter()
    for line, offset, encoded in lines_of(path, faults):
        fields = parse_line(encoded, line, faults)
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


def lines_of(path: Path, faults: Faults) -> Iterator[tuple[int, int, bytes]]:
    """Line number, offset and bytes of every line that is not blank, without its end."""
    offset, blank = 0, 0
    with path.open("rb") as file:
        line = 0
        while encoded := file.readline(MAX_LINE_BYTES + 1):
            line += 1
            start, offset = offset, offset + len(encoded)
            if len(encoded) > MAX_LINE_BYTES:
                faults.error(line, f"longer than {MAX_LINE_BYTES} bytes; is every row on a line of its own?")
                return
            if line == 1:
                if encoded.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in encoded[:64]:
                    faults.error(1, "the file is UTF-16; save it as UTF-8")
                    return
                if encoded.startswith(b"\xef\xbb\xbf"):
                    encoded, start = encoded[3:], 3
            content = encoded.rstrip(b"\r\n\t ")
            if content.strip():
                yield line, start, content
            else:
                blank += 1
    if blank:
        faults.warnings.append(f"{faults.param}: {blank} blank lines were skipped")


def parse_line(encoded: bytes, line: int, faults: Faults) -> dict[str, Any] | None:
    try:
        fields = json.loads(encoded.decode("utf-8"), object_pairs_hook=without_repeats)
        # An escape is all that can bring a half, since the line itself is UTF-8.
        if b"\\u" in encoded and (half := half_pair(fields)) is not None:
            raise ValueError(f"{half}: half a surrogate pair, which is no character")
    except UnicodeDecodeError as error:
        faults.error(line, f"not UTF-8: byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        hint = "; expected one JSON object a line, not one array" if encoded.startswith(b"[") else ""
        faults.error(line, f"not JSON: {error.msg} at character {error.pos + 1}{hint}")
    except (ValueError, RecursionError) as error:
        faults.error(line, str(error) or "nested too deep")
    else:
        if isinstance(fields, dict):
            return fields
        faults.error(line, f"expected a JSON object, found {kind_of(fields)}")
    return None


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


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return fields


def half_pair(fields: object) -> str | None:
    """Where an unpaired surrogate stands in what a row says: neither UTF-8 nor the tokenizer has a place for it."""
    if not isinstance(fields, dict):
        return None
    for key, value in fields.items():
        texts = value if isinstance(value, list) else [value]
        if HALF_PAIR.search(key):
            return "a key"
        if key in COLUMNS and any(isinstance(text, str) and HALF_PAIR.search(text) for text in texts):
            return repr(key)
    return None


def kind_of(value: object) -> str:
    """JSON's name for it, never the value itself."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names[type(value)]
