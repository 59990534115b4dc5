"""Writes samples into numbered tar files, as WebDataset lays them out: the files of one key lie together."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flava_gpu.shards.index import MANIFEST

SHARD_SAMPLES = 10_000
SHARD_BYTES = 512 * 1024**2
"""Large enough to be read in one go, small enough to be copied again when it breaks."""


@dataclass(frozen=True)
class SampleFiles:
    key: str
    """Without a dot: a key ends at the first one."""
    files: dict[str, bytes]
    """By ending: jpg, jpeg, png or webp; txt; json."""


def write_shards(
    samples: Iterable[SampleFiles],
    folder: Path,
    shard_samples: int = SHARD_SAMPLES,
    shard_bytes: int = SHARD_BYTES,
) -> list[Path]:
    """`00000.tar` and on; a shard is closed at whichever limit comes first. The same samples give the same bytes.

    A shard appears under its name once it is whole. Raises FileExistsError where there are shards already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.tar")) or (folder / MANIFEST).exists():
        raise FileExistsError(f"{folder} holds shards already: choose another folder or remove it")
    paths: list[Path] = []
    waiting = iter(samples)
    sample = next(waiting, None)
    while sample is not None:
        path = folder / f"{len(paths):05d}.tar"
        with _open_shard(path) as tar:
            written, used = 0, 0
            while sample is not None and written < shard_samples and used < shard_bytes:
                used += _add(tar, sample)
                written += 1
                sample = next(waiting, None)
        paths.append(path)
    return paths


@contextmanager
def _open_shard(path: Path) -> Iterator[tarfile.TarFile]:
    partial = path.with_suffix(".partial")
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            yield tar
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)


def _add(tar: tarfile.TarFile, sample: SampleFiles) -> int:
    """Returns the bytes of its files. No times and no owners: the same samples make the same file."""
    if "." in sample.key.rpartition("/")[2]:
        raise ValueError(f"key {sample.key!r}: expected no dot, at which WebDataset ends a key")
    for ending, content in sample.files.items():
        member = tarfile.TarInfo(f"{sample.key}.{ending}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
        tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # tarfile keeps every header it has written
    return sum(map(len, sample.files.values()))
