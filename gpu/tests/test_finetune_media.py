"""Pictures in archives are read in place, whatever the archive tries."""

from __future__ import annotations

import errno
import gzip
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from flava_gpu.finetune import media
from flava_gpu.finetune.media import MediaArchives, PictureError
from flava_gpu.training.errors import TrainingError


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def archives(folder: Path, *paths: Path) -> MediaArchives:
    return MediaArchives([(f"media archive {number + 1}", path) for number, path in enumerate(paths)], folder)


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:xz"])
def test_members_are_found_by_name_in_every_kind_of_archive(tmp_path: Path, mode: str) -> None:
    members = {"./cats/1.png": b"one", "cats/2.png": b"two" * 1000, "empty": b""}
    path = tmp_path / "media"
    write_zip(path, members) if mode == "zip" else write_tar(path, members, mode)
    pictures = archives(tmp_path, path)
    assert pictures.read("cats/1.png") == b"one"
    assert pictures.read("./cats/2.png") == b"two" * 1000
    assert pictures.read("cats\\2.png") == b"two" * 1000
    assert pictures.read("empty") == b""
    assert "link.png" not in pictures


def test_a_name_that_is_not_there_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    pictures = archives(tmp_path, write_zip(tmp_path / "a.zip", {"set/cat.png": b"x"}))
    with pytest.raises(PictureError, match=r"no picture 'cat.png' in media archive 1; did you mean 'set/cat.png'\?"):
        pictures.read("cat.png")


def test_names_that_leave_the_archive_are_names_and_nothing_more(tmp_path: Path) -> None:
    pictures = archives(tmp_path, write_tar(tmp_path / "a.tar", {"../../outside.png": b"x", "/etc/passwd": b"y"}))
    assert pictures.read("/etc/passwd") == b"y"
    with pytest.raises(PictureError):
        pictures.read("/etc/hostname")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_member_that_unpacks_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_PICTURE_BYTES", 1000)
    path = write_zip(tmp_path / "a.zip", {"bomb.png": b"\0" * 1_000_000, "small.png": b"x"})
    assert path.stat().st_size < 2000
    pictures = archives(tmp_path, path)
    with pytest.raises(PictureError, match="unpacks to 1000000 bytes"):
        pictures.read("bomb.png")
    # A directory that lies about the size gets no further than the limit either.
    lying = path.read_bytes().replace((1_000_000).to_bytes(4, "little"), (900).to_bytes(4, "little"))
    (tmp_path / "b.zip").write_bytes(lying)
    with pytest.raises(PictureError):
        archives(tmp_path, tmp_path / "b.zip").read("bomb.png")
    with pytest.raises(TrainingError, match="unpack to more"):
        archives(tmp_path, write_tar(tmp_path / "c.tar.gz", {"bomb": b"\0" * 10_000}, "w:gz"))


def test_a_tar_that_ends_in_a_zip_is_still_a_tar(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"wrong.png": b"wrong"}).read_bytes()
    pictures = archives(tmp_path, write_tar(tmp_path / "a.tar", {"right.png": b"right", "inner.zip": inner}))
    assert pictures.read("right.png") == b"right"
    assert "wrong.png" not in pictures


def test_what_is_no_archive_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"not an archive" * 100)
    with pytest.raises(TrainingError, match="media archive 1: cannot be read: expected a zip or a tar") as caught:
        archives(tmp_path, tmp_path / "a")
    assert caught.value.code == "invalid_media"
    whole = write_tar(tmp_path / "b.tar.gz", {"a.png": b"x" * 5000}, "w:gz").read_bytes()
    (tmp_path / "b").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match="media archive 1: cannot be read"):
        archives(tmp_path, tmp_path / "b")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_header_of_megabytes_is_refused_before_it_is_read(tmp_path: Path, kind: bytes, mode: str) -> None:
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, media.MAX_HEADER_BYTES + 1
    plain = header.tobuf() + b"0" * (header.size + 511)
    (tmp_path / "a").write_bytes(plain if mode == "w" else gzip.compress(plain))
    with pytest.raises(TrainingError, match="a header of") as caught:
        archives(tmp_path, tmp_path / "a")
    assert caught.value.code == "invalid_media"


def test_a_compressed_tar_takes_no_more_than_its_share_of_the_disk_and_no_bomb_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "a.tar.gz", {"zeros": b"\0" * 1_000_000}, "w:gz")
    assert archives(tmp_path, path).read("zeros")[:1] == b"\0"
    monkeypatch.setattr(media, "FREE_UNPACKED_BYTES", 1000)
    with pytest.raises(TrainingError, match="unpack to more than 100 times"):
        archives(tmp_path, path)
    monkeypatch.setattr(media, "FREE_UNPACKED_BYTES", 1 << 30)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(OSError, match="no room") as full:
        archives(tmp_path, path)
    assert full.value.errno == errno.ENOSPC


def test_a_name_in_two_archives_is_ambiguous(tmp_path: Path) -> None:
    first, second = write_zip(tmp_path / "a", {"x": b"1"}), write_zip(tmp_path / "b", {"x": b"2", "y": b"3"})
    pictures = archives(tmp_path, first, second)
    assert pictures.read("y") == b"3"
    with pytest.raises(PictureError, match="more than once"):
        pictures.read("x")
