"""The pictures of a data set: found, decoded once while the data are validated, and kept as pixels of the model's size.

The file of pixels is a cache: where the disk has no room for it, pictures are decoded again for every batch.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from flava_gpu.augment import normalize
from flava_gpu.finetune.media import MAX_PICTURE_BYTES, MediaArchives, PictureError, short
from flava_gpu.finetune.rows import IN_FILE, Row
from flava_gpu.jsonl import Faults
from flava_gpu.preprocess import flatten_on_white

log = logging.getLogger("flava_gpu.finetune")

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""No format whose reader starts another program."""
MAX_PIXELS = 50_000_000
MIN_BASE64_CHARACTERS = 64
"""The smallest PNG is 67 bytes; a shorter text without an archive is a name that leads nowhere."""
HASH_BYTES = 16
CHUNK = 256
FREE_SHARE = 0.5
"""Of the free disk that the pixel file may take: checkpoints come after it."""

Pixels = NDArray[np.uint8]  # [size, size, 3]


class Pictures:
    """The pictures of one data file's rows, as uint8 pixels of `size`."""

    def __init__(self, path: Path, rows: Sequence[Row], media: MediaArchives, size: int) -> None:
        self.path = path
        self.rows = rows
        self.media = media
        self.size = size
        self._cache: NDArray[np.uint8] | None = None

    def validate(self, cache: Path, faults: Faults, report: Callable[[int], None]) -> list[bytes]:
        """Decodes every picture, notes those that cannot be read, and returns the hashes of their bytes.

        Fills `cache` with their pixels unless the disk is too small. `report` is told how many pictures are done.
        """
        pixel_bytes = len(self.rows) * self.size * self.size * 3
        has_room = pixel_bytes < FREE_SHARE * shutil.disk_usage(cache.parent).free
        if not has_room:
            log.warning("no room to keep %d MB of pixels: pictures are decoded for every batch", pixel_bytes >> 20)
        hashes: list[bytes] = []
        with cache.open("wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(self.rows), CHUNK):
                chunk = self.rows[start : start + CHUNK]
                for row, outcome in zip(chunk, pool.map(self._try_decode, chunk), strict=True):
                    if isinstance(outcome, PictureError):
                        faults.error(row.line, str(outcome))
                        hashes.append(b"")
                        continue
                    pixels, digest = outcome
                    hashes.append(digest)
                    if has_room:
                        file.write(pixels.tobytes())
                report(min(start + CHUNK, len(self.rows)))
                if faults.is_full:
                    break
        if has_room and not faults.errors:
            self.use_cache(cache)
        else:
            cache.unlink()
        return hashes

    def use_cache(self, cache: Path) -> None:
        if cache.exists() and self.rows:
            self._cache = np.memmap(cache, np.uint8, "r", shape=(len(self.rows), self.size, self.size, 3))

    def pixel_values(self, rows: Sequence[int]) -> Tensor:
        """Normalized pixels f32 [rows, 3, size, size] of the rows by position."""
        if self._cache is not None:
            stacked = self._cache[np.asarray(rows)]
        else:
            stacked = np.stack([self._decode(self.rows[row])[0] for row in rows])
        pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255  # [rows, 3, size, size]
        return normalize(pixels)

    def _try_decode(self, row: Row) -> tuple[Pixels, bytes] | PictureError:
        try:
            return self._decode(row)
        except PictureError as error:
            return error

    def _decode(self, row: Row) -> tuple[Pixels, bytes]:
        data = self._bytes(row)
        return decode_picture(data, self.size), hashlib.sha256(data).digest()[:HASH_BYTES]

    def _bytes(self, row: Row) -> bytes:
        image = row.image
        if image == IN_FILE:
            with self.path.open("rb") as file:
                file.seek(row.offset)
                image = json.loads(file.read(row.length))["image"]
        assert image is not None
        return picture_bytes(image, self.media)


def picture_bytes(image: str, media: MediaArchives) -> bytes:
    """What an `image` column stands for: a data URI, a name in the archives, or base64. Raises PictureError."""
    if image.startswith("data:"):
        header, comma, encoded = image.partition(",")
        if not comma or not header.endswith(";base64"):
            raise PictureError("'image' is a data URI that is not base64")
        return decode_base64(encoded)
    if image in media or len(image) < MIN_BASE64_CHARACTERS:
        return media.read(image)
    try:
        return decode_base64(image)
    except PictureError as error:
        if len(media):
            return media.read(image)  # to say that there is no such name
        raise error


def decode_base64(text: str) -> bytes:
    if len(text) > MAX_PICTURE_BYTES * 4 // 3 + 4:
        raise PictureError(f"the picture is larger than {MAX_PICTURE_BYTES} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureError(f"'image' is no valid base64: {error}") from error


def decode_picture(data: bytes, size: int) -> Pixels:
    """As the edge shows it to the encoder: upright, on white, PIL's bicubic, aspect ratio not kept. Raises PictureError."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(f"the picture has {image.width} x {image.height} pixels, more than {MAX_PIXELS}")
            upright = ImageOps.exif_transpose(image)
            resized = flatten_on_white(upright).resize((size, size), Image.Resampling.BICUBIC)
            return np.asarray(resized)
    except UnidentifiedImageError as error:
        raise PictureError(f"the picture is none of {', '.join(FORMATS)} ({len(data)} bytes)") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise PictureError(f"the picture cannot be read: {short(str(error))}") from error
