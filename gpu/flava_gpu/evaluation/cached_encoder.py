"""Vectors on disk, for callers that ask one checkpoint the same items again: export measures every variant against it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from flava_gpu.evaluation.encoders import Encoded, Encoder, Kind, Output
from flava_gpu.file_hash import sha256_of_file

SOURCES = ("evaluation/encoders.py", "objectives.py", "preprocess.py", "batching.py")
"""Whose changes may change vectors."""


class CachedEncoder:
    """`checkpoint` is what `encoder` computes from."""

    def __init__(self, encoder: Encoder, checkpoint: Path, folder: Path) -> None:
        self.name = encoder.name
        self.encoder = encoder
        self.folder = folder
        package = Path(__file__).parents[1]
        files = [*sorted(checkpoint.glob("*.safetensors")), checkpoint / "config.json", checkpoint / "tokenizer.json"]
        self.identity = [sha256_of_file(path) for path in [*files, *(package / source for source in SOURCES)]]

    def texts(self, texts: Sequence[str], output: Output) -> Encoded:
        path = self._path("texts", [text.encode() for text in texts], output)
        return self._load(path) or self._keep(path, self.encoder.texts(texts, output))

    def images(self, images: Sequence[Path], output: Output) -> Encoded:
        path = self._path("images", [image.read_bytes() for image in images], output)
        return self._load(path) or self._keep(path, self.encoder.images(images, output))

    def _path(self, kind: Kind, contents: Sequence[bytes], output: Output) -> Path:
        digest = hashlib.sha256("\0".join([kind, output, *self.identity]).encode())
        for content in contents:
            digest.update(hashlib.sha256(content).digest())
        return self.folder / f"vectors-{digest.hexdigest()[:16]}.safetensors"

    def _load(self, path: Path) -> Encoded | None:
        if not path.is_file():
            return None
        tensors = load_file(path)
        return Encoded(tensors["values"], tensors["rows"])

    def _keep(self, path: Path, encoded: Encoded) -> Encoded:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file({"values": np.ascontiguousarray(encoded.values), "rows": encoded.rows}, partial)
        partial.replace(path)
        return encoded
