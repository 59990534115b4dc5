"""Token ids of every training picture, made once and kept in the run's folder.

Masked image modeling predicts the tokens of what it sees. If geometry is changed, tokens must be those of the changed picture,
made at each step; if it is not, they can be kept. Measured (docs/training.md): a MIM step takes 3.4 ms a picture, and tokenizing in
it would add 1.5, or 43 %. Keeping them costs 1.6 ms a picture once, 74 s for the embedded model's 46,463, of which a run shows
each about seven times. So the image stage keeps tokens and changes no geometry: the masks, never the same twice, vary a picture
enough. The joint stage, which takes MMM on few of its pictures and shows all of them moved, tokenizes what it sees.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm
from transformers import FlavaImageCodebook

from flava_gpu.codebook.pixels import codebook_pixels
from flava_gpu.codebook.tokens import tokenize

log = logging.getLogger("flava_gpu.codebook")

BATCH = 128
QUIET_BELOW = 2000
"""Pictures that are tokenized within some seconds."""


def cached_tokens(folder: Path, codebook: FlavaImageCodebook, images: Tensor, size: int) -> Tensor:
    """Token ids int16 [n, rows, columns] of `images` uint8 RGBA [n, 4, side, side], shown at `size` codebook pixels.

    Kept in `folder` under the hashes of the codebook's weights and of the pictures: another codebook, other pictures or another
    order make them anew and remove the old ones.
    """
    key = {"codebook": codebook_hash(codebook), "pictures": pictures_hash(images), "size": str(size)}
    path = folder / f"tokens-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.safetensors"
    if path.is_file():
        with safe_open(path, "pt") as kept:
            if kept.metadata() == key:
                return kept.get_tensor("tokens")
    tokens = _tokenize_all(codebook, images, size)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("tokens-*.safetensors"):
        old.unlink()
    partial = path.with_suffix(".partial")
    save_file({"tokens": tokens}, partial, metadata=key)
    partial.replace(path)
    return tokens


def codebook_hash(codebook: FlavaImageCodebook) -> str:
    """Of the names and values of its weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codebook.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def pictures_hash(images: Tensor) -> str:
    """Of the pixels themselves, so that a change of the order is one too."""
    digest = hashlib.sha256(str(list(images.shape)).encode())
    for part in images.split(BATCH):
        digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _tokenize_all(codebook: FlavaImageCodebook, images: Tensor, size: int) -> Tensor:
    if codebook.vocab_size > torch.iinfo(torch.int16).max:
        raise ValueError(f"{codebook.vocab_size} codes do not fit into int16")
    parts: list[Tensor] = []
    with tqdm(total=len(images), desc="visual tokens", unit="img", disable=len(images) < QUIET_BELOW) as progress:
        for part in images.split(BATCH):
            parts.append(tokenize(codebook, codebook_pixels(part, size)).to(torch.int16))
            progress.update(len(part))
    return torch.cat(parts)
