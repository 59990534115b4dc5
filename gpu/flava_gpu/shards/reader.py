"""Samples out of indexed shards: pictures decoded, captions read, by position and in any order."""

from __future__ import annotations

import io
import json
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from flava_gpu.shards.faults import Fault, FaultCode, ShardError
from flava_gpu.shards.index import ABSENT, COLUMNS, ShardSet, Spans, load_spans
from flava_gpu.shards.order import INTERLEAVED_SHARDS

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class Sample:
    shard: str
    key: str
    picture: bytes | None
    """As the file has it."""
    texts: tuple[str, ...]


@dataclass(frozen=True)
class _OpenShard:
    spans: Spans
    file: int


class ShardReader:
    """Keeps the last `max_open` shards open, each with its offsets: about 1 MB for 10,000 samples."""

    def __init__(self, shards: ShardSet, max_open: int = 2 * INTERLEAVED_SHARDS) -> None:
        self.shards = shards
        self.max_open = max_open
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """A worker process opens its own."""
        return {**self.__dict__, "_open": OrderedDict()}

    def read(self, shard: int, sample: int) -> Sample:
        """Raises ShardError for a caption without words or one that cannot be read."""
        opened = self._shard(shard)
        name = self.shards.shards[shard].name
        key = opened.spans.keys[sample].decode()
        parts: dict[str, bytes] = {}
        for column, part in enumerate(COLUMNS):
            offset, size = opened.spans.offsets[sample, column], opened.spans.sizes[sample, column]
            if offset != ABSENT:
                parts[part] = os.pread(opened.file, size, offset)
                if len(parts[part]) != size:
                    raise ShardError(Fault("truncated_shard", name, key, f"ends within its {part}"))
        texts: tuple[str, ...] = ()
        if self.shards.content != "image":
            texts = _texts(parts, name, key)
            if not texts:
                raise ShardError(Fault("empty_caption", name, key, "no caption has a word"))
        return Sample(name, key, parts.get("image"), texts)

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1].file)

    def _shard(self, shard: int) -> _OpenShard:
        if (opened := self._open.get(shard)) is None:
            spans = load_spans(self.shards.folder, self.shards.shards[shard])
            opened = _OpenShard(spans, os.open(self.shards.folder / self.shards.shards[shard].name, os.O_RDONLY))
            self._open[shard] = opened
            if len(self._open) > self.max_open:
                os.close(self._open.popitem(last=False)[1].file)
        self._open.move_to_end(shard)
        return opened


def decode_picture(sample: Sample, side: int) -> NDArray[np.uint8]:
    """Upright RGBA pixels [side, side, 4], PIL's bicubic, aspect ratio not kept. Raises ShardError."""
    try:
        with Image.open(io.BytesIO(sample.picture or b""), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _bad_picture(sample, f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
            upright = ImageOps.exif_transpose(image).convert("RGBA")
            return np.asarray(upright.resize((side, side), Image.Resampling.BICUBIC))
    except UnidentifiedImageError as error:
        raise _bad_picture(sample, f"the picture is none of {', '.join(FORMATS)}") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise _bad_picture(sample, f"the picture cannot be read: {error}") from error


def _bad_picture(sample: Sample, reason: str) -> ShardError:
    return ShardError(Fault("unreadable_picture", sample.shard, sample.key, reason))


def _texts(parts: dict[str, bytes], shard: str, key: str) -> tuple[str, ...]:
    """Of the txt file, and of `caption` or `captions` in the json file; without repeats."""
    code: FaultCode = "unreadable_caption"
    try:
        texts = [parts["txt"].decode()] if "txt" in parts else []
        if parts.get("json"):
            fields = json.loads(parts["json"])
            if not isinstance(fields, dict):
                raise ValueError("the json file holds no object")
            captions = fields.get("captions", [fields.get("caption", "")])
            if not isinstance(captions, list):
                raise ValueError("captions is no list")
            texts += captions
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are
        raise ShardError(Fault(code, shard, key, f"the caption cannot be read: {error}")) from error
    if not all(isinstance(text, str) for text in texts):
        raise ShardError(Fault(code, shard, key, "a caption is no string"))
    return tuple(dict.fromkeys(stripped for text in texts if (stripped := text.strip())))
