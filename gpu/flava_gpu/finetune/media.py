"""Pictures in zip and tar archives, read in place: nothing is unpacked, so a name in an archive never becomes a path.

Names only look members up. Links, devices and directories are no pictures; a member that unpacks to more than
MAX_PICTURE_BYTES is refused however little it takes in the archive.
"""

from __future__ import annotations

import difflib
import errno
import io
import os
import shutil
import tarfile
import threading
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flava_gpu.training.errors import TrainingError

MAX_PICTURE_BYTES = 64 * 1024 * 1024
MAX_MEMBERS = 5_000_000
MAX_UNPACKED_TAR_BYTES = 64 * 1024**3
"""What a compressed tar may become: it has to be unpacked once to be read at random."""
MAX_UNPACKED_RATIO = 100
FREE_UNPACKED_BYTES = 1024**3
"""Beyond this a compressed tar that grows by more than MAX_UNPACKED_RATIO is a bomb: pictures are compressed already."""
DISK_SHARE = 0.5
"""Of the free disk that an unpacked tar may take: other jobs write to it too."""
MAX_HEADER_BYTES = 1024**2
"""Of an extended header or a long name, which tarfile reads whole into memory."""
LONG_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
MAX_NAMES_COMPARED = 20_000
"""When a name is unknown and the nearest one is looked for."""


class PictureError(Exception):
    """A picture that is not there or cannot be read; the message goes behind the row's line number."""


@dataclass(frozen=True, slots=True)
class Member:
    archive: int
    name: str
    """As the archive spells it."""
    offset: int
    """Of the bytes in a tar; a zip looks members up by name."""
    size_bytes: int


class BoundedTarInfo(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in LONG_HEADERS and header.size > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {header.size} bytes, more than {MAX_HEADER_BYTES}")
        return header


class ZipArchive:
    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        self._lock = threading.Lock()

    def members(self, archive: int) -> list[Member]:
        members = []
        for info in self._zip.infolist():
            is_regular = (info.external_attr >> 16) & 0o170000 in (0, 0o100000)  # 0: made where there are no Unix modes
            if is_regular and not info.is_dir():
                members.append(Member(archive, info.filename, 0, info.file_size))
        return members

    def read(self, member: Member) -> bytes:
        with self._lock, self._zip.open(member.name) as file:
            return file.read(MAX_PICTURE_BYTES + 1)  # the size in the directory may be a lie


class TarArchive:
    """An uncompressed tar, its members read with pread, which threads may share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDONLY)

    def members(self, archive: int) -> list[Member]:
        members = []
        with tarfile.open(self._path, "r:", tarinfo=BoundedTarInfo) as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else tarfile keeps every header
                if info.isreg() and not info.issparse():
                    members.append(Member(archive, info.name, info.offset_data, info.size))
                if len(members) > MAX_MEMBERS:
                    break
        return members

    def read(self, member: Member) -> bytes:
        data = os.pread(self._file, member.size_bytes, member.offset)
        if len(data) != member.size_bytes:
            raise PictureError(f"{short(member.name)}: the tar archive ends inside it")
        return data


class MediaArchives:
    """The pictures of all archives by name; where two archives have the same name, it is ambiguous and refused."""

    def __init__(self, archives: list[tuple[str, Path]], workdir: Path) -> None:
        """`archives` by the name to blame. Raises TrainingError for what is no archive that can be read."""
        self._archives: list[ZipArchive | TarArchive] = []
        self._members: dict[str, Member] = {}
        self._ambiguous: set[str] = set()
        self.labels = [label for label, _ in archives]
        for label, path in archives:
            try:
                archive = open_archive(path, workdir / f"media-{len(self._archives)}.tar")
                members = archive.members(len(self._archives))
            except (
                zipfile.BadZipFile,
                tarfile.TarError,
                EOFError,
                zlib.error,
                NotImplementedError,
                ValueError,
            ) as error:
                raise TrainingError("invalid_media", f"{label}: cannot be read: {error}", param=label) from error
            if len(members) > MAX_MEMBERS:
                raise TrainingError(
                    "invalid_media", f"{label}: more than {MAX_MEMBERS} members; split the data set", param=label
                )
            self._archives.append(archive)
            for member in members:
                self._add(member)

    def _add(self, member: Member) -> None:
        name = picture_name(member.name)
        if name in self._members:
            self._ambiguous.add(name)
        self._members[name] = member

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: str) -> bool:
        return picture_name(name) in self._members

    def read(self, name: str) -> bytes:
        """The bytes of the picture of that name; raises PictureError."""
        key = picture_name(name)
        member = self._members.get(key)
        if member is None:
            raise PictureError(self._missing(name))
        if key in self._ambiguous:
            raise PictureError(f"{name!r} is in the archives more than once")
        if member.size_bytes > MAX_PICTURE_BYTES:
            raise PictureError(f"{name!r} unpacks to {member.size_bytes} bytes, more than {MAX_PICTURE_BYTES}")
        try:
            data = self._archives[member.archive].read(member)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise PictureError(f"{name!r} cannot be unpacked: {error}") from error
        if len(data) > MAX_PICTURE_BYTES:
            raise PictureError(f"{name!r} unpacks to more than {MAX_PICTURE_BYTES} bytes")
        return data

    def _missing(self, name: str) -> str:
        if not self._archives:
            return (
                f"{short(name)} is not a picture: expected a data URI or base64, or media archives to look a name up in"
            )
        base = name.rsplit("/", 1)[-1]
        same_end = [known for known in self._members if known.rsplit("/", 1)[-1] == base]
        near = same_end or difflib.get_close_matches(name, list(self._members)[:MAX_NAMES_COMPARED], n=1)
        hint = f"; did you mean {short(near[0])}?" if near else ""
        return f"no picture {short(name)} in {', '.join(self.labels)}{hint}"


def open_archive(path: Path, unpacked: Path) -> ZipArchive | TarArchive:
    """By content, since objects carry no file names of their users; a compressed tar is unpacked to `unpacked`."""
    if is_plain_tar(path):  # before zip, whose signature may lie anywhere near a file's end
        return TarArchive(path)
    if zipfile.is_zipfile(path):
        return ZipArchive(path)
    try:
        unpack_tar(path, unpacked)
        return TarArchive(unpacked)
    except tarfile.ReadError as error:
        raise tarfile.ReadError("expected a zip or a tar archive") from error


def is_plain_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:", tarinfo=BoundedTarInfo):
            return True
    except tarfile.ReadError:
        return False


def unpack_tar(path: Path, plain: Path) -> None:
    """A gzip, bzip2 or xz tar as a plain tar of its regular files, bounded in size."""
    written = 0
    most = max(FREE_UNPACKED_BYTES, MAX_UNPACKED_RATIO * path.stat().st_size)
    room = DISK_SHARE * shutil.disk_usage(plain.parent).free
    with tarfile.open(path, "r:*", tarinfo=BoundedTarInfo) as packed, tarfile.open(plain, "w") as unpacked:
        for info in packed:
            if not info.isreg():
                continue
            written += info.size
            if written > MAX_UNPACKED_TAR_BYTES or info.size > MAX_PICTURE_BYTES:
                raise ValueError(f"{short(info.name)} makes it unpack to more than a data set may have")
            if written > most:
                raise ValueError(f"{short(info.name)} makes it unpack to more than {MAX_UNPACKED_RATIO} times its size")
            if written > room:
                raise OSError(errno.ENOSPC, "no room on the worker's disk to unpack an archive")
            file = packed.extractfile(info)
            assert file is not None
            unpacked.addfile(info, io.BufferedReader(file))  # type: ignore[arg-type]
            packed.members = []  # type: ignore[attr-defined]


def picture_name(name: str) -> str:
    """One spelling for `./a.png`, `a.png` and Windows' `\\`."""
    return name.replace("\\", "/").removeprefix("./")


def short(text: str, characters: int = 80) -> str:
    return repr(text if len(text) <= characters else text[: characters - 1] + "…")
