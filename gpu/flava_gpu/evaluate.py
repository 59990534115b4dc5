"""Embeds texts and picture files with a checkpoint in fp32: the reference that the edge engine is scored against.

    python -m flava_gpu.evaluate --checkpoint models/flava-emoji/checkpoint --request request.json --output vectors.f32

`request.json` is {"texts": [...], "images": [paths]}. The output is float32, little-endian, [texts + images, projection_dim],
each row of length 1. Computes vectors only: ranks and scores are tools/eval's, the same code for both engines.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm
from transformers import FlavaForPreTraining, FlavaImageConfig, FlavaTextConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling

from flava_gpu.batching import encode_texts
from flava_gpu.made_up_texts import PAIR_LENGTH
from flava_gpu.preprocess import to_pixel_values

BATCH = 64
Item = TypeVar("Item")


def load_checkpoint(folder: Path) -> tuple[FlavaForPreTraining, Tokenizer]:
    """A checkpoint with its weights upcast from fp16, and its tokenizer."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: run `npm run train` first")
    model = FlavaForPreTraining.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


@torch.no_grad()
def embed_texts(model: FlavaForPreTraining, tokenizer: Tokenizer, texts: list[str], max_length: int) -> Tensor:
    """L2-normalized projection of token 0, f32 [texts, projection_dim]."""
    parts = [torch.empty(0, model.config.projection_dim)]
    for batch in _batches(texts, "texts, fp32"):
        encoded = encode_texts(tokenizer, batch, max_length)
        features = model.flava.get_text_features(encoded.input_ids, attention_mask=encoded.attention_mask)
        parts.append(_unit_token0(features))
    return torch.cat(parts)


@torch.no_grad()
def embed_images(model: FlavaForPreTraining, images: list[Path]) -> Tensor:
    """L2-normalized projection of token 0, f32 [images, projection_dim]; any file that PIL reads, alpha on white."""
    image_config = model.config.image_config
    assert isinstance(image_config, FlavaImageConfig)
    size = image_config.image_size
    assert isinstance(size, int)
    parts = [torch.empty(0, model.config.projection_dim)]
    for batch in _batches(images, "pictures, fp32"):
        pixel_values = to_pixel_values([Image.open(path) for path in batch], size)  # [batch, 3, size, size]
        features = model.flava.get_image_features(pixel_values)
        parts.append(_unit_token0(features))
    return torch.cat(parts)


def _unit_token0(features: object) -> Tensor:
    """transformers 5 puts the projection of every token where the pooled output was."""
    assert isinstance(features, BaseModelOutputWithPooling)
    assert features.pooler_output is not None
    return F.normalize(features.pooler_output[:, 0], dim=-1)  # [batch, projection_dim]


def _batches(items: list[Item], label: str) -> Iterator[list[Item]]:
    starts = tqdm(range(0, len(items), BATCH), desc=label, unit="batch", disable=len(items) < 10 * BATCH)
    for start in starts:
        yield items[start : start + BATCH]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a Hugging Face checkpoint")
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    request = json.loads(options.request.read_text(encoding="utf-8"))
    model, tokenizer = load_checkpoint(options.checkpoint)
    text_config = model.config.text_config
    assert isinstance(text_config, FlavaTextConfig)
    max_length = min(PAIR_LENGTH, text_config.max_position_embeddings)  # what export.py gives the package
    text = embed_texts(model, tokenizer, request["texts"], max_length)
    image = embed_images(model, [Path(path) for path in request["images"]])
    options.output.write_bytes(torch.cat([text, image]).numpy().astype("<f4").tobytes())


if __name__ == "__main__":
    main()
