"""Where each sample lies in its tar file: `python -m flava_gpu.shards.index FOLDER` reads every header once.

Writes `shards.json` and, beside each shard, the offsets of its samples; training then reads samples at random without
looking at a tar header again. Looks at names and sizes only: what is inside a picture, reading finds out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from flava_gpu.shards.faults import Fault, OnBad, ShardError

Content = Literal["pair", "image", "text"]
"""What every sample must have: a picture and a caption, or one of them."""

FORMAT_VERSION = 1
MANIFEST = "shards.json"
SKIPPED = "skipped.jsonl"
PICTURES = ("jpg", "jpeg", "png", "webp")
CAPTIONS = ("txt", "json")
COLUMNS = ("image", "txt", "json")
"""The parts of a sample that are read; members with other endings are passed over, as WebDataset does."""
ABSENT = -1
BLOCK_BYTES = 512  # of a tar file; one of zeros ends it


@dataclass(frozen=True)
class ShardEntry:
    name: str
    size_bytes: int
    samples: int


@dataclass(frozen=True)
class ShardSet:
    folder: Path
    content: Content
    shards: tuple[ShardEntry, ...]
    skipped: int
    """Samples that the index left out; skipped.jsonl names them."""

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """Tells whether a resumed run sees the same shards in the same order."""
        told = [[shard.name, shard.size_bytes, shard.samples] for shard in self.shards]
        return hashlib.sha256(json.dumps([self.content, told]).encode()).hexdigest()


@dataclass(frozen=True)
class Spans:
    """Of one shard's samples, in the tar's order."""

    keys: NDArray[np.bytes_]  # UTF-8, [samples]
    offsets: NDArray[np.int64]  # of the bytes of each of COLUMNS, [samples, 3]; ABSENT where there is none
    sizes: NDArray[np.int64]  # in bytes, [samples, 3]


def load_shards(folder: Path) -> ShardSet:
    """The index of `folder`; raises FileNotFoundError naming the command that writes it."""
    path = folder / MANIFEST
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `python -m flava_gpu.shards.index {folder}` first")
    raw = json.loads(path.read_text(encoding="utf-8"))
    if raw.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"{path}: expected format_version {FORMAT_VERSION}, got {raw.get('format_version')!r}")
    return ShardSet(folder, raw["content"], tuple(ShardEntry(**shard) for shard in raw["shards"]), raw["skipped"])


def load_spans(folder: Path, shard: ShardEntry) -> Spans:
    """Raises ShardError when the file is no longer the one that was indexed."""
    try:
        size_bytes = (folder / shard.name).stat().st_size
        with np.load(_spans_path(folder / shard.name)) as arrays:
            spans = Spans(arrays["keys"], arrays["offsets"], arrays["sizes"])
    except FileNotFoundError as error:
        raise ShardError(Fault("changed_shard", shard.name, "", f"{error.filename} is gone since indexing")) from error
    if size_bytes != shard.size_bytes or len(spans.keys) != shard.samples:
        reason = (
            f"expected {shard.size_bytes} bytes with {shard.samples} samples as indexed, "
            f"got {size_bytes} with {len(spans.keys)}: index the folder again"
        )
        raise ShardError(Fault("changed_shard", shard.name, "", reason))
    return spans


def index_shards(folder: Path, content: Content = "pair", on_bad: OnBad = "error", jobs: int = 1) -> ShardSet:
    """Index every `*.tar` of `folder`, in the order of their names.

    Raises ShardError for the first fault unless `on_bad` is "skip"; then the faults stand in skipped.jsonl. The old index
    stays until the new one is whole.
    """
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no *.tar files")
    (folder / MANIFEST).unlink(missing_ok=True)  # offsets are replaced one by one: a half new index must not be read
    entries: list[ShardEntry] = []
    faults: list[Fault] = []
    with ProcessPoolExecutor(jobs) as pool:
        scan = partial(_index_one, content=content)
        scanned = pool.map(scan, paths) if jobs > 1 else map(scan, paths)
        for entry, found in tqdm(scanned, total=len(paths), desc="index", unit="shard", disable=len(paths) < 20):
            if found and on_bad == "error":
                more = f" ({len(found) - 1} more in this shard)" if len(found) > 1 else ""
                raise ShardError(Fault(found[0].code, found[0].shard, found[0].key, found[0].reason + more))
            entries.append(entry)
            faults += found
    _replace(folder / SKIPPED, "".join(json.dumps(asdict(fault), ensure_ascii=False) + "\n" for fault in faults))
    shards = [asdict(entry) for entry in entries]
    manifest = {"format_version": FORMAT_VERSION, "content": content, "skipped": len(faults), "shards": shards}
    _replace(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return load_shards(folder)


def scan_shard(path: Path, content: Content) -> tuple[Spans, list[Fault]]:
    """The good samples of a tar file and the faults of the others."""
    faults: list[Fault] = []
    keys: list[bytes] = []
    rows: list[list[tuple[int, int]]] = []
    seen: set[str] = set()
    for key, members in _samples(path, faults):
        if key in seen:
            faults.append(Fault("duplicate_key", path.name, key, "the key stands twice in the shard"))
            continue
        seen.add(key)
        parts, fault = _parts(path.name, key, members, content)
        if fault is not None:
            faults.append(fault)
            continue
        keys.append(key.encode())
        rows.append([parts.get(column, (ABSENT, 0)) for column in COLUMNS])
    table = np.array(rows, np.int64).reshape(-1, len(COLUMNS), 2)
    return Spans(np.array(keys, np.bytes_), table[:, :, 0], table[:, :, 1]), faults


def _index_one(path: Path, content: Content) -> tuple[ShardEntry, list[Fault]]:
    spans, faults = scan_shard(path, content)
    partial_path = _spans_path(path).with_suffix(".partial")
    with partial_path.open("wb") as file:
        np.savez(file, keys=spans.keys, offsets=spans.offsets, sizes=spans.sizes)
    partial_path.replace(_spans_path(path))
    return ShardEntry(path.name, path.stat().st_size, len(spans.keys)), faults


def _samples(path: Path, faults: list[Fault]) -> Iterator[tuple[str, list[tuple[str, int, int]]]]:
    """Each run of members with one key: their endings, offsets and sizes. A truncated tar yields its whole samples."""
    key, members = "", []
    for name, offset, size in _members(path, faults):
        head, _, base = name.rpartition("/")
        stem, dot, ending = base.partition(".")  # WebDataset: the key ends at the first dot of the file's name
        if not stem or not dot:
            continue
        full = f"{head}/{stem}" if head else stem
        if full != key and members:
            yield key, members
            members = []
        key = full
        members.append((ending.lower(), offset, size))
    is_cut = bool(faults) and faults[-1].code in ("truncated_shard", "unreadable_shard")
    if members and not is_cut:
        yield key, members
    if is_cut and key:
        last = faults.pop()
        faults.append(Fault(last.code, last.shard, key, f"{last.reason}; this sample and all behind it are lost"))


def _members(path: Path, faults: list[Fault]) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each regular file. tarfile ends silently at a cut header or a missing end: looked at here."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # tarfile keeps every header it has seen
                if member.isreg():
                    yield member.name, member.offset_data, member.size
            file.seek(tar.offset)
            if file.read(BLOCK_BYTES) != bytes(BLOCK_BYTES):
                faults.append(Fault("truncated_shard", path.name, "", f"no end of archive at byte {tar.offset}"))
    except tarfile.ReadError as error:
        if "unexpected end of data" in str(error):
            faults.append(Fault("truncated_shard", path.name, "", f"cut off after {path.stat().st_size} bytes"))
        else:
            faults.append(Fault("unreadable_shard", path.name, "", f"not an uncompressed tar file: {error}"))


def _parts(
    shard: str, key: str, members: Iterable[tuple[str, int, int]], content: Content
) -> tuple[dict[str, tuple[int, int]], Fault | None]:
    parts: dict[str, tuple[int, int]] = {}
    for ending, offset, size in members:
        column = "image" if ending in PICTURES else ending if ending in CAPTIONS else None
        if column is None:
            continue
        if column in parts:
            return {}, Fault("duplicate_key", shard, key, f"has two files for its {column}")
        parts[column] = (offset, size)
    if content != "text" and "image" not in parts:
        return {}, Fault("missing_picture", shard, key, f"no picture: expected one of {', '.join(PICTURES)}")
    captions = [parts[column] for column in CAPTIONS if column in parts]
    if content != "image" and not captions:
        return {}, Fault("missing_caption", shard, key, f"no caption: expected one of {', '.join(CAPTIONS)}")
    if content != "image" and not any(size for _, size in captions):
        return {}, Fault("empty_caption", shard, key, "its caption file has no bytes")
    if content != "text" and parts["image"][1] == 0:
        return {}, Fault("unreadable_picture", shard, key, "its picture file has no bytes")
    return parts, None


def _spans_path(shard: Path) -> Path:
    return shard.with_suffix(".index.npz")


def _replace(path: Path, text: str) -> None:
    partial_path = path.with_suffix(".partial")
    partial_path.write_text(text, encoding="utf-8")
    partial_path.replace(path)


def describe(shards: ShardSet) -> str:
    told = f"{shards.folder}: {len(shards.shards)} shards, {shards.samples:,} samples"
    if not shards.skipped:
        return told
    lines = (shards.folder / SKIPPED).read_text(encoding="utf-8").splitlines()
    codes = Counter(cast(dict[str, Any], json.loads(line))["code"] for line in lines)
    counted = ", ".join(f"{count} {code}" for code, count in codes.most_common())
    return f"{told}; {shards.skipped} faults skipped ({counted}), named in {shards.folder / SKIPPED}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--content", choices=get_args(Content), default="pair", help="what every sample must have")
    parser.add_argument("--on-bad", choices=get_args(OnBad), default="error", help="skip: leave out, count and name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="shards read at the same time")
    arguments = parser.parse_args()
    print(describe(index_shards(arguments.folder, arguments.content, arguments.on_bad, arguments.jobs)))


if __name__ == "__main__":
    main()
