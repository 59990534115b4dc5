"""What fp32 PyTorch makes of a set of texts and pictures: the vectors an edge package is compared with.

    PYTHONPATH=gpu .venv/bin/python -m flava_gpu.parity --checkpoint DIR --out DIR [--data data/emoji] [--keep-pictures]

Writes inputs.json (token ids, hash of the pictures, versions) and vectors.safetensors. With --data, captions and
pictures of the dev split come on top of the made-up ones. Tokens and resized pixels are stored, so that a comparison
measures the encoders and nothing before them. Holds one layer of the checkpoint at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors.numpy import save_file

from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.parity_inputs import PICTURE_COUNT, SEED, parity_pictures, parity_texts
from flava_gpu.reference_forward import Reference, encode_pictures, encode_texts

DETAILED_TEXTS = (0, 1, 2, 3, -1)
DETAILED_PICTURES = (0, 1, 3)
"""Inputs whose cls, hidden and preNorm outputs are kept as well: few, since hidden states are large."""
LAYERED_TEXTS = 16
LAYERED_PICTURES = 8
"""Inputs whose token 0 is kept after every block: texts spread over all lengths, the first pictures."""


def main() -> None:
    parser = argparse.ArgumentParser(description="fp32 PyTorch vectors for parity measurements.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="data directory with pairs.jsonl: adds the dev split")
    parser.add_argument("--keep-pictures", action="store_true", help="store the pictures' bytes beside the vectors")
    arguments = parser.parse_args()
    write_parity_vectors(
        arguments.checkpoint, arguments.out, arguments.data, arguments.keep_pictures, show_progress=True
    )


def write_parity_vectors(
    checkpoint: Path, out: Path, data: Path | None, keep_pictures: bool, *, show_progress: bool = False
) -> None:
    reader = CheckpointReader(checkpoint)
    texts = parity_texts(checkpoint, data)
    size: int = reader.config["image_config"]["image_size"]
    pictures = parity_pictures(size, data)
    layered_texts = [int(index) for index in np.linspace(0, len(texts) - 1, LAYERED_TEXTS)]
    layered_pictures = list(range(LAYERED_PICTURES))

    tensors: dict[str, NDArray[Any]] = {}
    text_reference = encode_texts(reader, texts, show_progress=show_progress)
    add_vectors(tensors, "text", text_reference, DETAILED_TEXTS, layered_texts)
    del text_reference
    picture_reference = encode_pictures(reader, pictures, show_progress=show_progress)
    add_vectors(tensors, "image", picture_reference, DETAILED_PICTURES, layered_pictures)
    if keep_pictures:
        tensors["pictures"] = pictures

    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "vectors.safetensors")
    inputs = {
        "checkpoint": reader.sha256(),
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
        "layers": {"texts": layered_texts, "pictures": layered_pictures},
    }
    (out / "inputs.json").write_text(json.dumps(inputs, ensure_ascii=False, separators=(",", ":")) + "\n")


def add_vectors(
    tensors: dict[str, NDArray[Any]],
    kind: str,
    reference: Reference,
    detailed: tuple[int, ...],
    layered: list[int],
) -> None:
    tensors[f"{kind}.projected"] = torch.stack(reference.projected).numpy()
    tensors[f"{kind}.layers"] = torch.stack([cls[layered] for cls in reference.cls_layers], dim=1).contiguous().numpy()
    for index in detailed:
        hidden, position = reference.hidden[index], index % len(reference.hidden)
        tensors[f"{kind}.{position}.cls"] = hidden[0].contiguous().numpy()
        tensors[f"{kind}.{position}.hidden"] = hidden.contiguous().numpy()
        tensors[f"{kind}.{position}.preNorm"] = reference.pre_norm[index].contiguous().numpy()


if __name__ == "__main__":
    main()
