"""What fp32 PyTorch makes of a set of texts and pictures: the vectors an edge package is compared with.

    PYTHONPATH=gpu .venv/bin/python -m flava_gpu.parity --checkpoint DIR --out DIR [--data data/emoji] [--keep-pictures]

Writes inputs.json (token ids, hash of the pictures, versions) and vectors.safetensors. With --data, captions and
pictures of the dev split come on top of the made-up ones. Tokens and resized pixels are stored, so that a comparison
measures the encoders and nothing before them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.numpy import save_file
from torch import Tensor
from transformers import FlavaForPreTraining, FlavaModel

from flava_gpu.augment import normalize
from flava_gpu.file_hash import sha256_of_file
from flava_gpu.made_up_texts import Text, TokenizedText, made_up_texts, tokenize_texts
from flava_gpu.preprocess import flatten_on_white
from flava_gpu.procedural_pictures import Picture, procedural_pictures

SEED = 20_211_208
PICTURE_COUNT = 208
DEV_COUNT = 200
"""Dev-split captions, and as many pictures."""
DETAILED_TEXTS = (0, 1, 2, 3, -1)
DETAILED_PICTURES = (0, 1, 3)
"""Inputs whose cls, hidden and preNorm outputs are kept as well: few, since hidden states are large."""
BATCH = 64


@dataclass(frozen=True)
class Encoded:
    """One input's outputs, each f32: projected [projection_dim], hidden and pre_norm [seq_len, hidden_size]."""

    projected: Tensor
    hidden: Tensor
    pre_norm: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description="fp32 PyTorch vectors for parity measurements.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="data directory with pairs.jsonl: adds the dev split")
    parser.add_argument("--keep-pictures", action="store_true", help="store the pictures' bytes beside the vectors")
    arguments = parser.parse_args()
    write_parity_vectors(arguments.checkpoint, arguments.out, arguments.data, arguments.keep_pictures)


def write_parity_vectors(checkpoint: Path, out: Path, data: Path | None, keep_pictures: bool) -> None:
    torch.manual_seed(SEED)
    model = FlavaForPreTraining.from_pretrained(checkpoint, dtype=torch.float32).eval().flava
    texts = tokenize_texts(checkpoint, made_up_texts(SEED) + (dev_captions(data) if data else []))
    size: int = json.loads((checkpoint / "config.json").read_text())["image_config"]["image_size"]
    pictures = procedural_pictures(PICTURE_COUNT, size)
    if data:
        pictures = np.concatenate([pictures, dev_pictures(data, size)])

    tensors: dict[str, np.ndarray[Any, Any]] = {}
    with torch.inference_mode():
        text_items = [encode_text(model, text) for text in texts]
        picture_items = encode_pictures(model, pictures)
    add_vectors(tensors, "text", text_items, DETAILED_TEXTS)
    add_vectors(tensors, "image", picture_items, DETAILED_PICTURES)
    if keep_pictures:
        tensors["pictures"] = pictures

    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "vectors.safetensors")
    inputs = {
        "checkpoint": sha256_of_file(checkpoint / "model.safetensors"),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "seed": SEED,
        "texts": [
            {"text": text.text, "inputIds": text.input_ids, "tokenTypeIds": text.token_type_ids} for text in texts
        ],
        "pictures": {
            "procedural": PICTURE_COUNT,
            "dev": len(pictures) - PICTURE_COUNT,
            "size": size,
            "sha256": hashlib.sha256(pictures[:PICTURE_COUNT].tobytes()).hexdigest(),
        },
        "detailed": {
            "texts": [index % len(texts) for index in DETAILED_TEXTS],
            "pictures": list(DETAILED_PICTURES),
        },
    }
    (out / "inputs.json").write_text(json.dumps(inputs, ensure_ascii=False, separators=(",", ":")) + "\n")


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


def encode_text(model: FlavaModel, text: TokenizedText) -> Encoded:
    """One text at its true length: padding would only have to be masked away again."""
    input_ids = torch.tensor([text.input_ids])  # [1, seq_len]
    token_type_ids = torch.tensor([text.token_type_ids])  # [1, seq_len]
    output = model.text_model(input_ids=input_ids, token_type_ids=token_type_ids, output_hidden_states=True)
    hidden = output.last_hidden_state  # [1, seq_len, hidden_size]
    projected = model.text_projection(hidden[:, 0])  # [1, projection_dim]
    return Encoded(projected[0], hidden[0], output.hidden_states[-1][0])


def encode_pictures(model: FlavaModel, pictures: Picture) -> list[Encoded]:
    items: list[Encoded] = []
    for start in range(0, len(pictures), BATCH):
        pixel_values = normalize_pictures(pictures[start : start + BATCH])
        output = model.image_model(pixel_values=pixel_values, output_hidden_states=True)
        hidden = output.last_hidden_state  # [batch, num_patches + 1, hidden_size]
        projected = model.image_projection(hidden[:, 0])  # [batch, projection_dim]
        items += [Encoded(*item) for item in zip(projected, hidden, output.hidden_states[-1], strict=True)]
    return items


def normalize_pictures(pictures: Picture) -> Tensor:
    """uint8 [n, size, size, 3] to pixel_values f32 [n, 3, size, size]."""
    return normalize(torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255)


def add_vectors(
    tensors: dict[str, np.ndarray[Any, Any]], kind: str, items: list[Encoded], detailed: tuple[int, ...]
) -> None:
    tensors[f"{kind}.projected"] = torch.stack([item.projected for item in items]).numpy()
    for index in detailed:
        item, position = items[index], index % len(items)
        tensors[f"{kind}.{position}.cls"] = item.hidden[0].contiguous().numpy()
        tensors[f"{kind}.{position}.hidden"] = item.hidden.contiguous().numpy()
        tensors[f"{kind}.{position}.preNorm"] = item.pre_norm.contiguous().numpy()


if __name__ == "__main__":
    main()
