"""A growing JSONL file kept in parts: what a checkpoint of a batch uploads of it. Imports no torch.

Parts of about equal length are merged, as in a binary counter: a file of any length has few parts, and each of its bytes is
uploaded a logarithmic number of times. A killed batch begins again from its parts, which are joined to one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from flava_gpu.worker.messages import JobObject
from flava_gpu.worker.transfer import Transfer


class PartedFile:
    """`<name>.jsonl` in `folder`; its parts are the job's objects `parts/<name>-<begin>-<end>`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.path = folder / f"{name}.jsonl"
        self.path.write_bytes(b"")
        self.bytes = 0
        self._parts: list[tuple[int, int, JobObject]] = []
        self._folder = folder

    def append(self, line: str) -> None:
        encoded = line.encode() + b"\n"
        with self.path.open("ab") as file:
            file.write(encoded)
        self.bytes += len(encoded)

    def restore(self, objects: tuple[JobObject, ...], transfer: Transfer) -> None:
        """The file as the checkpoint of `objects` had it."""
        mine = sorted((item for item in objects if item.name.startswith(f"parts/{self.name}-")), key=begin_of)
        with self.path.open("wb") as file:
            for item in mine:
                part = self._folder / "part"
                transfer.read_checkpoint(item, part)
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
                part.unlink()
        self.bytes = self.path.stat().st_size

    def upload(self, transfer: Transfer) -> list[JobObject]:
        """Uploads what is new. @returns the objects that make up the file now"""
        uploaded = self._parts[-1][1] if self._parts else 0
        if uploaded < self.bytes:
            begin, end = uploaded, self.bytes
            while self._parts and self._parts[-1][1] - self._parts[-1][0] <= 2 * (end - begin):
                begin = self._parts.pop()[0]
            self._parts.append((begin, end, self._upload(begin, end, transfer)))
        return [item for _, _, item in self._parts]

    def _upload(self, begin: int, end: int, transfer: Transfer) -> JobObject:
        part = self._folder / "part"
        with self.path.open("rb") as source, part.open("wb") as file:
            source.seek(begin)
            left = end - begin
            while left > 0 and (chunk := source.read(min(left, 1 << 20))):
                file.write(chunk)
                left -= len(chunk)
        item = transfer.write(f"parts/{self.name}-{begin:012}-{end:012}", part)
        part.unlink()
        return item


def begin_of(item: JobObject) -> int:
    return int(item.name.rsplit("-", 2)[1])
