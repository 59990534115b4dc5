"""What may be wrong with the files of a data set, told before anything is trained: by file and line, or by file.

Knows the columns of what `npm run data` writes; nothing of models. Imports no torch.
"""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from flava_gpu.jsonl import MAX_ERRORS, Faults, kind_of, lines_of, parse_line
from flava_gpu.training.errors import TrainingError

log = logging.getLogger("flava_gpu.data")

CHANNELS = 4  # RGBA
GIBIBYTE = 1024**3
MAX_NAMED = 10
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")

Check = Callable[[Any], str | None]
"""What is wrong with a value, or None."""


@dataclass(frozen=True)
class Columns:
    required: Mapping[str, Check]
    unique: tuple[tuple[str, ...], ...] = ()
    """Columns that together stand in one row only."""
    of_kind: Mapping[str, Mapping[str, Check]] = field(default_factory=dict[str, Mapping[str, Check]])
    """More of them for rows of one `kind`."""


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"expected a string, found {kind_of(value)}"
    return None if value.strip() else "is empty"


def _any_text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"expected a string, found {kind_of(value)}"


def _truth(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"expected true or false, found {kind_of(value)}"


def _one_of(*known: str) -> Check:
    return lambda value: None if value in known else f"expected one of {', '.join(known)}, found {value!r}"


def _captions(value: Any) -> str | None:
    """Of one language, or by language with English among them."""
    if isinstance(value, dict):
        if "en" not in value:
            return "has no 'en'"
        return next((f"{key!r} {fault}" for key, texts in value.items() if (fault := _captions(texts))), None)
    if not isinstance(value, list) or not value:
        return f"expected a list of captions, found {'an empty one' if value == [] else kind_of(value)}"
    return next((f"caption {number} {fault}" for number, text in enumerate(value, 1) if (fault := _text(text))), None)


PICTURE = {"image": _text, "name": _text, "captions": _captions}
FILES: dict[str, Columns] = {
    "pairs.jsonl": Columns(
        {
            **PICTURE,
            "style": _text,
            "style_role": _one_of("train-style", "dev-style", "test-style"),
            "key": _text,
            "family": _text,
            "concept_split": _text,
            "subgroup": _any_text,
            "skin": _truth,
            "kind": _text,
        },
        unique=(("image",), ("style", "key")),
        of_kind={"concept": {"base": _text, "group": _text, "concept_split": _one_of("train", "dev", "test")}},
    ),
    "icons.jsonl": Columns(PICTURE, unique=(("image",),)),
    "openclipart.jsonl": Columns(PICTURE, unique=(("image",),)),
    "outlines.jsonl": Columns(
        {"image": _text, "key": _text, "variant": _one_of("outlined", "line")}, unique=(("image",),)
    ),
    "glosses.jsonl": Columns({"lemma": _text, "gloss": _text}),
}


def read_checked(path: Path) -> list[dict[str, Any]]:
    """All rows of a file; its columns are checked where FILES has them.

    Raises TrainingError, code `invalid_data`, with the line of each of the first MAX_ERRORS faults.
    """
    columns = FILES.get(path.name)
    faults = Faults(str(path))
    rows: list[dict[str, Any]] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, _, encoded in lines_of(path, faults):
        row = parse_line(encoded, line, faults, None if columns else ())
        if row is not None:
            if columns is not None and (fault := _fault_of(row, columns) or _repeat_of(row, line, columns, seen)):
                faults.error(line, fault)
            rows.append(row)
        if faults.is_full:
            break
    faults.raise_if_any()
    return rows


def _fault_of(row: dict[str, Any], columns: Columns) -> str | None:
    checks = {**columns.required, **columns.of_kind.get(str(row.get("kind")), {})}
    for name, check in checks.items():
        if name not in row:
            near = difflib.get_close_matches(name, [key for key in row if key not in checks], 1)
            hint = f"; {near[0]!r} looks like it" if near else ""
            return f"has no {name!r}, columns found: {', '.join(map(repr, row)) or 'none'}{hint}"
        if fault := check(row[name]):
            return f"{name!r} {fault}" if fault.startswith(("is ", "has ")) else f"{name!r}: {fault}"
    return None


def _repeat_of(row: dict[str, Any], line: int, columns: Columns, seen: dict[tuple[str, ...], int]) -> str | None:
    for names in columns.unique:
        value = tuple(str(row[name]) for name in names)
        first = seen.setdefault((*names, *value), line)
        if first != line:
            told = " and ".join(f"{name} {one!r}" for name, one in zip(names, value, strict=True))
            return f"{told} stood in line {first} already"
    return None


def load_pictures(folder: Path, paths: Sequence[str], label: str) -> NDArray[np.uint8]:
    """RGBA pixels [n, 4, side, side] of the files `folder/path`, all of the first one's side.

    Raises TrainingError before the first is read when they do not fit into memory, and with the names of the first
    MAX_ERRORS that are missing or cannot be read.
    """
    side = _side_of(folder / paths[0])
    pictures_bytes = len(paths) * CHANNELS * side * side
    check_memory(pictures_bytes, f"{len(paths):,} pictures of {side} px ({label})", available_bytes())
    pixels = np.empty((len(paths), CHANNELS, side, side), np.uint8)
    faults: list[str] = []
    for number, path in enumerate(tqdm(paths, desc=f"pictures, {label}", unit="img", disable=len(paths) < 1000)):
        try:
            with Image.open(folder / path) as image:
                rgba = np.asarray(image.convert("RGBA"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            faults.append(f"{path}: {_reason(error)}")
        else:
            if rgba.shape[:2] == (side, side):
                pixels[number] = rgba.transpose(2, 0, 1)
                continue
            faults.append(f"{path}: expected {side} x {side} pixels, got {rgba.shape[1]} x {rgba.shape[0]}")
        if len(faults) >= MAX_ERRORS:
            faults.append("others may follow")
            break
    if faults:
        raise TrainingError("unreadable_pictures", f"{folder}: " + "; ".join(faults), param=str(folder))
    return pixels


def check_memory(needed_bytes: int, what: str, available: int | None) -> None:
    """Raises TrainingError naming both amounts; says nothing where the system does not tell what is available."""
    if available is not None and needed_bytes > available:
        raise TrainingError(
            "too_little_memory",
            f"{what} need {needed_bytes / GIBIBYTE:.2f} GiB of memory, {available / GIBIBYTE:.2f} GiB are available; "
            "choose fewer or smaller pictures, or stream them from shards (docs/training.md)",
        )


def available_bytes() -> int | None:
    """What this process may still take: the machine's share, and that of its control group; None off Linux."""
    if not MEMINFO.exists():
        return None
    told = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    available = int(told["MemAvailable"].split()[0]) * 1024
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except OSError:
        return available
    return available if limit == "max" else min(available, int(limit) - used)


def warn_of_rare_classes(labels: Sequence[str], where: str, least: int = 2) -> list[str]:
    """Logs and returns the classes with fewer than `least` examples: a probe cannot be validated on what it learns from."""
    rare = sorted(label for label, count in Counter(labels).items() if count < least)
    if rare:
        more = f" and {len(rare) - MAX_NAMED} more" if len(rare) > MAX_NAMED else ""
        named = ", ".join(map(repr, rare[:MAX_NAMED]))
        log.warning("%s: classes with fewer than %d examples: %s%s", where, least, named, more)
    return rare


def _side_of(path: Path) -> int:
    try:
        with Image.open(path) as image:
            return image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise TrainingError("unreadable_pictures", f"{path}: {_reason(error)}", param=str(path)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file is missing"
    if isinstance(error, UnidentifiedImageError):
        return "the file is no picture"
    return f"the picture cannot be read: {error}"
