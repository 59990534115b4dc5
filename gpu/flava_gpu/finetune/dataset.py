"""A training and a validation set, whole and checked before the first step: rows, pictures, labels, and what they have in common."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from flava_gpu.distributed import Ranks
from flava_gpu.finetune.media import MediaArchives
from flava_gpu.finetune.pictures import HASH_BYTES, Pictures
from flava_gpu.finetune.rows import MAX_LABELS, MIN_ROWS, Inputs, Row, Target, read_rows
from flava_gpu.jsonl import Faults
from flava_gpu.training.errors import TrainingError

MAX_LINES_NAMED = 5
FINISHED = ".hashes"
"""Beside a file of pixels: the hashes of the pictures' bytes, written when all were good."""


@dataclass(frozen=True)
class Sources:
    """The data files of a job."""

    training: Path
    validation: Path | None
    media: list[Path]


@dataclass(frozen=True)
class Dataset:
    """Rows that all give the model the same kind of input. Positions count from 0; `rows[i].line` is the file's."""

    rows: list[Row]
    inputs: Inputs
    pictures: Pictures | None
    picture_hashes: list[bytes]
    """One a row, empty where rows have no pictures."""

    def __len__(self) -> int:
        return len(self.rows)

    def pixel_values(self, positions: Sequence[int]) -> Tensor | None:
        """f32 [rows, 3, size, size], or None for text alone."""
        return None if self.pictures is None else self.pictures.pixel_values(positions)

    def content_hash(self, position: int) -> bytes:
        """Of what the row teaches; equal rows have equal ones, wherever they stand."""
        row = self.rows[position]
        picture = self.picture_hashes[position].hex() if self.picture_hashes else ""
        content = json.dumps([row.texts, picture, row.label, row.value])
        return hashlib.sha256(content.encode()).digest()


@dataclass(frozen=True)
class Datasets:
    training: Dataset
    validation: Dataset | None
    texts: list[Row]
    """Rows of a text alone beside pairs; for pretraining only."""
    labels: list[str] | None
    """In the order of their ids; None where nothing is classified."""

    def sha256(self) -> str:
        """Of everything that is trained and validated on, in its order."""
        digest = hashlib.sha256()
        for dataset in (self.training, self.validation):
            if dataset is not None:
                for position in range(len(dataset)):
                    digest.update(dataset.content_hash(position))
            digest.update(b"|")
        digest.update(json.dumps([row.texts for row in self.texts]).encode())
        return digest.hexdigest()


class DatasetLoader:
    """Reads and checks the data files; `warn` is told what is odd, `report` how many pictures of how many are read.

    Only the main process opens the pictures. The others wait for it and use what it left in `workdir`.
    """

    def __init__(
        self,
        sources: Sources,
        target: Target,
        image_size: int,
        workdir: Path,
        warn: Callable[[str], None],
        report: Callable[[int, int], None],
    ) -> None:
        self.sources = sources
        self.target: Target = target
        self.image_size = image_size
        self.workdir = workdir
        self.warn = warn
        self.report = report

    def load(self, ranks: Ranks, *, allows_text_only: bool) -> Datasets:
        """Raises TrainingError with the lines of what is wrong."""
        files = {"training_file": self.sources.training, "validation_file": self.sources.validation}
        read = {
            param: self._read(param, path, allows_text_only=allows_text_only)
            for param, path in files.items()
            if path is not None
        }
        texts: list[Row] = []
        if allows_text_only:
            texts = [row for row in read["training_file"] if row.image is None]
            if len(texts) < len(read["training_file"]):  # pairs besides, which then are the rows that count
                read = {param: [row for row in rows if row.image is not None] for param, rows in read.items()}
        self._check_inputs(read)
        labels = self._check_targets(read)
        media = self._open_media(ranks.rank)
        if ranks.is_main:
            self._validate_pictures(read, media)
        ranks.wait()
        sets = {param: self._assemble(param, rows, media) for param, rows in read.items()}
        datasets = Datasets(sets["training_file"], sets.get("validation_file"), texts, labels)
        if ranks.is_main:
            self._warn_of_repeats(datasets)
        return datasets

    def _read(self, param: str, path: Path, *, allows_text_only: bool) -> list[Row]:
        faults = Faults(param)
        rows = read_rows(path, self.target, faults, allows_text_only=allows_text_only)
        for warning in faults.warnings:
            self.warn(warning)
        faults.raise_if_any()
        least = MIN_ROWS if param == "training_file" else 1
        if len(rows) < least:
            raise TrainingError("too_few_rows", f"{param}: {len(rows)} rows, expected at least {least}", param=param)
        return rows

    def _check_inputs(self, read: dict[str, list[Row]]) -> None:
        if not read.get("validation_file", [True]):
            raise TrainingError(
                "invalid_data", "validation_file: no pairs, while the training file has some", param="validation_file"
            )
        first = read["training_file"][0]
        words = {"text": "text alone", "image": "a picture alone", "pair": "text and picture"}
        for param, rows in read.items():
            faults = Faults(param)
            for row in rows:
                if row.inputs != first.inputs and not faults.is_full:
                    where = f"line {first.line}" if param == "training_file" else "the training file"
                    faults.error(row.line, f"has {words[row.inputs]}, {where} has {words[first.inputs]}")
            faults.raise_if_any()

    def _check_targets(self, read: dict[str, list[Row]]) -> list[str] | None:
        training = read["training_file"]
        if self.target == "value" and len({row.value for row in training}) == 1:
            raise TrainingError("invalid_data", "training_file: every 'value' is the same", param="training_file")
        if self.target != "label":
            return None
        lines: dict[str, list[int]] = {}
        for row in training:
            assert row.label is not None
            lines.setdefault(row.label, []).append(row.line)
        labels = sorted(lines)
        if not 2 <= len(labels) <= MAX_LABELS:
            message = f"training_file: {len(labels)} different labels, expected 2 to {MAX_LABELS}"
            raise TrainingError("invalid_data", message, param="training_file")
        single = [f"{label!r} (line {lines[label][0]})" for label in labels if len(lines[label]) == 1]
        if single:
            self.warn(f"training_file: labels with one example only: {listed(single)}")
        if "validation_file" in read:
            self._check_validation_labels(read["validation_file"], set(labels))
        return labels

    def _check_validation_labels(self, rows: list[Row], labels: set[str]) -> None:
        faults = Faults("validation_file")
        for row in rows:
            if row.label not in labels and not faults.is_full:
                faults.error(row.line, f"label {row.label!r} is not in the training file")
        faults.raise_if_any()
        if unseen := sorted(labels - {row.label for row in rows if row.label is not None}):
            self.warn(f"validation_file: no example of {listed([repr(label) for label in unseen])}")

    def _open_media(self, rank: int) -> MediaArchives:
        folder = self.workdir / f"media-{rank}"
        folder.mkdir(parents=True, exist_ok=True)
        labels = [f"media archive {number + 1}" for number in range(len(self.sources.media))]
        return MediaArchives(list(zip(labels, self.sources.media, strict=True)), folder)

    def _validate_pictures(self, read: dict[str, list[Row]], media: MediaArchives) -> None:
        pictures = {param: rows for param, rows in read.items() if rows[0].image is not None}
        total = sum(map(len, pictures.values()))
        before = 0
        for param, rows in pictures.items():
            cache = self._cache(param)
            faults = Faults(param)
            loader = Pictures(self._path(param), rows, media, self.image_size)
            base = before  # bound now: the loop moves on
            hashes = loader.validate(cache, faults, lambda done, base=base: self.report(base + done, total))
            faults.raise_if_any()
            cache.with_suffix(FINISHED).write_bytes(b"".join(hashes))
            before += len(rows)

    def _assemble(self, param: str, rows: list[Row], media: MediaArchives) -> Dataset:
        inputs = rows[0].inputs
        if inputs == "text":
            return Dataset(rows, inputs, None, [])
        pictures = Pictures(self._path(param), rows, media, self.image_size)
        pictures.use_cache(self._cache(param))
        joined = self._cache(param).with_suffix(FINISHED).read_bytes()
        hashes = [joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES)]
        return Dataset(rows, inputs, pictures, hashes)

    def _warn_of_repeats(self, datasets: Datasets) -> None:
        training = datasets.training
        seen: dict[bytes, int] = {}
        repeats: list[str] = []
        for position, row in enumerate(training.rows):
            first = seen.setdefault(training.content_hash(position), row.line)
            if first != row.line:
                repeats.append(f"{row.line} (as {first})")
        if repeats:
            self.warn(f"training_file: {len(repeats)} rows repeat an earlier one: lines {listed(repeats)}")
        if datasets.validation is not None:
            validation = datasets.validation
            lines = [
                str(row.line)
                for position, row in enumerate(validation.rows)
                if validation.content_hash(position) in seen
            ]
            if lines:
                self.warn(f"validation_file: {len(lines)} rows are in the training file too: lines {listed(lines)}")

    def _path(self, param: str) -> Path:
        path = self.sources.training if param == "training_file" else self.sources.validation
        assert path is not None
        return path

    def _cache(self, param: str) -> Path:
        return self.workdir / f"{param}.pixels"


def listed(items: Sequence[str]) -> str:
    more = len(items) - MAX_LINES_NAMED
    return ", ".join(items[:MAX_LINES_NAMED]) + (f" and {more} more" if more > 0 else "")


def label_counts(rows: Sequence[Row]) -> Counter[str]:
    return Counter(row.label for row in rows if row.label is not None)
