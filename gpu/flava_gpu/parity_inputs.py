"""The texts and pictures that parity is measured with; calibration keeps clear of them.

Made up, so that they are there in a fresh clone; captions and pictures of the dev split come on top where data exist.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flava_gpu.augment import normalize
from flava_gpu.made_up_texts import Text, TokenizedText, made_up_texts, tokenize_texts
from flava_gpu.preprocess import flatten_on_white
from flava_gpu.procedural_pictures import Picture, procedural_pictures

SEED = 20_211_208
PICTURE_COUNT = 208
"""Procedural pictures, of the indices from 0 on."""
DEV_COUNT = 200
"""Dev-split captions, and as many pictures."""


def parity_texts(checkpoint: Path, data: Path | None = None) -> list[TokenizedText]:
    return tokenize_texts(checkpoint, made_up_texts(SEED) + (dev_captions(data) if data else []))


def parity_pictures(size: int, data: Path | None = None) -> Picture:
    """[n, size, size, 3] uint8; the first PICTURE_COUNT are procedural."""
    pictures = procedural_pictures(PICTURE_COUNT, size)
    return np.concatenate([pictures, dev_pictures(data, size)]) if data else pictures


def dev_rows(data: Path) -> list[dict[str, Any]]:
    """Rows of the dev concepts, never of the held-out style, in a fixed shuffle."""
    rows = [json.loads(line) for line in (data / "pairs.jsonl").read_text().splitlines()]
    dev = [row for row in rows if row["concept_split"] == "dev" and row["style_role"] != "test-style"]
    return random.Random(SEED).sample(dev, min(DEV_COUNT, len(dev)))


def dev_captions(data: Path) -> list[Text]:
    chooser = random.Random(SEED)
    return [(chooser.choice([row["name"], *row["captions"]["en"]]), None) for row in dev_rows(data)]


def dev_pictures(data: Path, size: int) -> Picture:
    """[n, size, size, 3] uint8, on white and resized as in inference."""
    pictures: list[Picture] = []
    for row in dev_rows(data):
        with Image.open(data / "images" / row["image"]) as image:
            resized = flatten_on_white(image).resize((size, size), Image.Resampling.BICUBIC)
            pictures.append(np.asarray(resized, dtype=np.uint8))
    return np.stack(pictures)


def normalize_pictures(pictures: Picture) -> Tensor:
    """uint8 [n, size, size, 3] to pixel_values f32 [n, 3, size, size]."""
    return normalize(torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255)
