"""Files of one JSON object a line: every fault of a file told at once, each with its line number. Imports no torch."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flava_gpu.training.errors import TrainingError

MAX_ERRORS = 20
MAX_LINE_BYTES = 96 * 1024 * 1024
"""A picture of 64 MiB as base64, with room for the rest."""
HALF_PAIR = re.compile("[\ud800-\udfff]")


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


def parse_line(
    encoded: bytes, line: int, faults: Faults, columns: Collection[str] | None = None
) -> dict[str, Any] | None:
    """The row's object, or None with its fault noted. `columns` whose texts must be whole; None is all."""
    try:
        fields = json.loads(encoded.decode("utf-8"), object_pairs_hook=without_repeats)
        # An escape is all that can bring a half, since the line itself is UTF-8.
        if b"\\u" in encoded and (half := half_pair(fields, columns)) is not None:
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


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return fields


def half_pair(fields: object, columns: Collection[str] | None) -> str | None:
    """Where an unpaired surrogate stands in what a row says: neither UTF-8 nor the tokenizer has a place for it."""
    if not isinstance(fields, dict):
        return None
    for key, value in fields.items():
        texts = value if isinstance(value, list) else [value]
        if HALF_PAIR.search(key):
            return "a key"
        if (columns is None or key in columns) and any(
            isinstance(text, str) and HALF_PAIR.search(text) for text in texts
        ):
            return repr(key)
    return None


def kind_of(value: object) -> str:
    """JSON's name for it, never the value itself."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names[type(value)]
