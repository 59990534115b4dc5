"""Image-text pairs of `npm run data` in memory: pictures as one uint8 tensor, captions by concept.

Knows the files of the data set and its splits; nothing of models, tokens or augmentation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

Role = Literal["train-style", "dev-style", "test-style"]
Split = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class Pairs:
    """Pictures of one selection of styles and concepts."""

    images: torch.Tensor  # uint8 [n, 4, side, side], RGBA
    concepts: list[str]  # base key of each picture, length n
    has_skin_tone: list[bool]  # length n
    names: dict[str, str]  # by concept: its name, the first caption
    captions: dict[str, list[str]]  # by concept: name first, then keywords

    def by_concept(self, skin_tone: bool) -> dict[str, list[int]]:
        """Indices into `images` by concept, of plain pictures or of skin tone variants."""
        indices: dict[str, list[int]] = {}
        for index, (concept, skin) in enumerate(zip(self.concepts, self.has_skin_tone, strict=True)):
            if skin == skin_tone:
                indices.setdefault(concept, []).append(index)
        return indices


def read_rows(data: Path) -> list[dict[str, Any]]:
    """All rows of pairs.jsonl; raises FileNotFoundError naming the command that writes it."""
    path = data / "pairs.jsonl"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `npm run data` first")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def load_pairs(data: Path, role: Role, split: Split, with_skin_tones: bool = False) -> Pairs:
    """Pictures of the styles with `role` and the concepts of `split`, captioned in English.

    Raises ValueError when the selection is empty, or when a held-out family is in the training selection.
    """
    everything = read_rows(data)
    rows = [
        row
        for row in everything
        if row["kind"] == "concept"
        and row["style_role"] == role
        and row["concept_split"] == split
        and (with_skin_tones or not row["skin"])
    ]
    if not rows:
        raise ValueError(f"{data}: no pictures with style_role {role} and concept_split {split}")
    if role == "train-style" and split == "train":
        _assert_disjoint(rows, everything)
    names = {row["key"]: row["name"] for row in rows if not row["skin"]}
    captions = {row["key"]: _captions(row) for row in rows if not row["skin"]}
    rows = [row for row in rows if row["base"] in names]
    return Pairs(
        images=_load_images(data, [row["image"] for row in rows], f"{role} {split}"),
        concepts=[row["base"] for row in rows],
        has_skin_tone=[row["skin"] for row in rows],
        names=names,
        captions=captions,
    )


def load_glosses(data: Path, excluded_names: set[str]) -> list[str]:
    """WordNet glosses as "lemma: gloss", without those whose lemma names an excluded (held-out) concept."""
    texts: list[str] = []
    for line in (data / "glosses.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["lemma"].lower() not in excluded_names:
            texts.append(f"{row['lemma']}: {row['gloss']}")
    return texts


def held_out_names(data: Path) -> set[str]:
    """Lower-case names of the concepts of the dev and test splits."""
    return {
        row["name"].lower()
        for row in read_rows(data)
        if row["kind"] == "concept" and row["concept_split"] in ("dev", "test")
    }


def _captions(row: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys([row["name"], *row["captions"]["en"]]))


def _assert_disjoint(train: list[dict[str, Any]], everything: list[dict[str, Any]]) -> None:
    held_out = {row["family"] for row in everything if row["concept_split"] in ("dev", "test")}
    for row in train:
        if row["family"] in held_out:
            raise ValueError(f"{row['image']}: held-out family in the training selection")


def _load_images(data: Path, paths: list[str], label: str) -> torch.Tensor:
    pictures = [
        np.asarray(Image.open(data / "images" / path).convert("RGBA"))
        for path in tqdm(paths, desc=f"pictures, {label}", unit="img", disable=len(paths) < 1000)
    ]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()  # [n, 4, side, side]
