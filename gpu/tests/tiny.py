"""A data set and a model small enough to train inside a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from flava_gpu.training.config import as_plain, load_config

SHIPPED = Path(__file__).parents[1] / "configs" / "emoji-v0.yaml"
SHAPES = ["disc", "bar", "square", "cross", "ring", "corner", "stripe", "dot", "grid", "wedge"]


def write_data(folder: Path) -> Path:
    """Ten concepts in two train styles and one dev style, and two held-out concepts; 16 px pictures of noise."""
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for index, name in enumerate([*SHAPES, "held", "kept"]):
        split = "dev" if index == len(SHAPES) else "test" if index > len(SHAPES) else "train"
        for style, role in (("ink", "train-style"), ("oil", "train-style"), ("clay", "dev-style")):
            image = f"{style}/{index:02}.png"
            path = folder / "images" / image
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (16, 16, 4), dtype=np.uint8), "RGBA").save(path)
            rows.append(row(image, name, f"{index:02}", style, role, split))
    (folder / "pairs.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))
    glosses = [{"lemma": f"{a} {b}", "gloss": f"a {a} near a {b} and some {a}"} for a in SHAPES for b in SHAPES]
    (folder / "glosses.jsonl").write_text("".join(json.dumps(item) + "\n" for item in glosses))
    (folder / "manifest.json").write_text(json.dumps({"hash": "tiny"}))
    return folder


def row(image: str, name: str, key: str, style: str, role: str, split: str) -> dict[str, Any]:
    return {
        "image": image,
        "style": style,
        "style_role": role,
        "key": key,
        "base": key,
        "family": key,
        "concept_split": split,
        "name": name,
        "skin": False,
        "kind": "concept",
        "captions": {"en": [name, f"{name} thing", "shape"]},
    }


def tiny_config(data: Path, output: Path, updates: int = 12) -> dict[str, Any]:
    """The shipped configuration shrunk to 16 px, one layer and a few updates."""
    raw = as_plain(load_config(SHIPPED))
    raw |= {"name": "tiny", "data": str(data), "output": str(output)}
    raw["model"] |= {"image_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    raw["model"] |= {"intermediate_size": 32, "multimodal_layers": 1, "vocab_size": 64, "image_vocab_size": 8}
    raw["optimization"] |= {"updates": updates, "batch_size": 8, "warmup_updates": 3, "threads": 1}
    raw["objectives"] |= {"multimodal_every": 2, "multimodal_batch": 4, "mlm_every": 3, "mlm_batch": 4}
    raw["fusion"] |= {"updates": 4, "batch_size": 8}
    raw["logging"] |= {"curve_every": 2, "evaluate_every": 6, "checkpoint_every": 4}
    return raw


def write_config(path: Path, raw: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(raw))
    return path
