"""Image-text pairs of `npm run data` in memory: pictures as one uint8 tensor, captions by concept.

Knows the files of the data set and its splits; nothing of models, tokens or augmentation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from flava_gpu.data_checks import load_pictures, read_checked

Role = Literal["train-style", "dev-style", "test-style"]
Split = Literal["train", "dev", "test"]
PictureKind = Literal["plain", "skin", "outlined", "line", "icon"]
"""A vendor's drawing, its skin tone variants, the same with contours or as line art, and an icon or clip-art of that name."""

HELD_OUT_GLOSSES = 50
ICON_FILES = ("icons.jsonl", "openclipart.jsonl")


@dataclass(frozen=True)
class Pairs:
    """Pictures of one selection of styles and concepts."""

    images: torch.Tensor  # uint8 [n, 4, side, side], RGBA
    concepts: list[str]  # of each picture, length n: an emoji's base key, or `icon:` and a name
    kinds: list[PictureKind]  # length n
    styles: list[str]  # length n: a vendor's, "" of outlines and icons
    names: dict[str, str]  # by concept: its name, the first caption
    captions: dict[str, list[str]]  # by concept: name first, then keywords
    subgroups: dict[str, str]  # by concept, emoji alone: Unicode's subgroup, "animal-mammal"

    def by_concept(self, *kinds: PictureKind) -> dict[str, list[int]]:
        """Indices into `images` by concept, of pictures of these kinds."""
        indices: dict[str, list[int]] = {}
        for index, (concept, kind) in enumerate(zip(self.concepts, self.kinds, strict=True)):
            if kind in kinds:
                indices.setdefault(concept, []).append(index)
        return indices


@dataclass(frozen=True)
class Picture:
    """`path` below the data set's `images`."""

    path: str
    concept: str
    kind: PictureKind
    style: str = ""
    """Of a vendor's drawing."""


def read_rows(data: Path, file: str = "pairs.jsonl") -> list[dict[str, Any]]:
    """All rows of a file; raises FileNotFoundError naming the command that writes it, TrainingError naming bad lines."""
    path = data / file
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `npm run data` first")
    return read_checked(path)


def data_hash(data: Path) -> str:
    """Of everything that training may read; raises FileNotFoundError naming the command that writes it."""
    path = data / "manifest.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `npm run data` first")
    return json.loads(path.read_text(encoding="utf-8"))["training_hash"]


def load_pairs(data: Path, role: Role, split: Split) -> Pairs:
    """Vendors' own pictures of the styles with `role` and the concepts of `split`, captioned in English, without skin tones.

    Raises ValueError when the selection is empty.
    """
    rows = [row for row in _select(read_rows(data), role, split) if not row["skin"]]
    pictures = [Picture(row["image"], row["base"], "plain", row["style"]) for row in rows]
    return _to_pairs(data, rows, pictures, f"{role} {split}")


def load_training_pairs(data: Path) -> Pairs:
    """Every picture that may be trained on: the training styles' with their variants, icons and clip-art."""
    rows, pictures = training_pictures(data)
    return _to_pairs(data, rows, pictures, "training")


def training_pictures(data: Path) -> tuple[list[dict[str, Any]], list[Picture]]:
    """Rows that describe the concepts of the training set, and its pictures.

    An icon that is called as an emoji is becomes one more picture of that emoji; the others of one name make a concept.
    Raises ValueError when a held-out family is among them.
    """
    everything = read_rows(data)
    emoji = _select(everything, "train-style", "train")
    _assert_disjoint(emoji, everything)
    known = {row["key"] for row in emoji if not row["skin"]}
    emoji = [row for row in emoji if row["base"] in known]
    pictures = [Picture(row["image"], row["base"], "skin" if row["skin"] else "plain", row["style"]) for row in emoji]
    for row in read_rows(data, "outlines.jsonl"):
        if row["key"] in known:
            pictures.append(Picture(row["image"], row["key"], row["variant"]))
    rows = [row for row in emoji if not row["skin"]]
    concept_of_name = {row["name"].lower(): row["key"] for row in rows}
    for icon in _icons(data):
        name, *keywords = icon["captions"]
        concept = concept_of_name.setdefault(name, f"icon:{name}")
        pictures.append(Picture(icon["image"], concept, "icon"))
        if concept not in known:
            rows.append({"key": concept, "name": name, "captions": {"en": keywords}, "subgroup": ""})
    return rows, pictures


def load_glosses(data: Path, excluded_names: set[str], part: Literal["train", "held-out"] = "train") -> list[str]:
    """WordNet glosses as "lemma: gloss", without those whose lemma names an excluded (held-out) concept.

    One in HELD_OUT_GLOSSES, by its hash, is never trained on: masked words are evaluated on those.
    """
    texts = [
        f"{row['lemma']}: {row['gloss']}"
        for row in read_rows(data, "glosses.jsonl")
        if row["lemma"].lower() not in excluded_names
    ]
    return [text for text in texts if _is_held_out(text) == (part == "held-out")]


def _is_held_out(text: str) -> bool:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % HELD_OUT_GLOSSES == 0


def caption_texts(data: Path) -> list[str]:
    """Distinct captions of the training pictures, in a fixed order."""
    rows = _select(read_rows(data), "train-style", "train")
    texts = [text for row in rows if not row["skin"] for text in [row["name"], *row["captions"]["en"]]]
    return sorted({text.lower() for text in [*texts, *(text for icon in _icons(data) for text in icon["captions"])]})


def held_out_names(data: Path) -> set[str]:
    """Lower-case names of the concepts of the dev and test splits."""
    return {
        row["name"].lower()
        for row in read_rows(data)
        if row["kind"] == "concept" and row["concept_split"] in ("dev", "test")
    }


def _select(rows: list[dict[str, Any]], role: Role, split: Split) -> list[dict[str, Any]]:
    chosen = [
        row for row in rows if row["kind"] == "concept" and row["style_role"] == role and row["concept_split"] == split
    ]
    if not chosen:
        raise ValueError(f"no pictures with style_role {role} and concept_split {split}")
    return chosen


def _icons(data: Path) -> Iterable[dict[str, Any]]:
    """Rows of icon sets and clip-art with lower-case captions, the name first."""
    for file in ICON_FILES:
        if (data / file).exists():
            for row in read_rows(data, file):
                captions = row["captions"]["en"] if isinstance(row["captions"], dict) else row["captions"]
                yield {**row, "captions": [text.lower() for text in dict.fromkeys([row["name"], *captions])]}


def captions_by_concept(rows: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """A concept that several rows describe has the captions of all, the first one's name first."""
    captions: dict[str, dict[str, None]] = {}
    for row in rows:
        captions.setdefault(row["key"], {}).update(dict.fromkeys([row["name"], *row["captions"]["en"]]))
    return {concept: list(found) for concept, found in captions.items()}


def _to_pairs(data: Path, rows: list[dict[str, Any]], pictures: list[Picture], label: str) -> Pairs:
    """`rows` describe the concepts of `pictures`."""
    texts = captions_by_concept(rows)
    return Pairs(
        images=torch.from_numpy(load_pictures(data / "images", [picture.path for picture in pictures], label)),
        concepts=[picture.concept for picture in pictures],
        kinds=[picture.kind for picture in pictures],
        styles=[picture.style for picture in pictures],
        names={concept: found[0] for concept, found in texts.items()},
        captions=texts,
        subgroups={row["key"]: row["subgroup"] for row in rows if row.get("subgroup")},
    )


def _assert_disjoint(train: list[dict[str, Any]], everything: list[dict[str, Any]]) -> None:
    held_out = {row["family"] for row in everything if row["concept_split"] in ("dev", "test")}
    for row in train:
        if row["family"] in held_out:
            raise ValueError(f"{row['image']}: held-out family in the training selection")
