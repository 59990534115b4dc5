"""The model under evaluation: an engine for its two encoders, and PyTorch for what stands on them.

Every item is encoded once, however many tasks ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor
from transformers import FlavaForPreTraining

from flava_gpu.evaluation.encoders import Encoder, Kind, Output, image_geometry, pair_length, unit
from flava_gpu.evaluation.errors import CheckpointMissingError, HeadMissingError
from flava_gpu.evaluation.progress import bar
from flava_gpu.evaluation.tasks import Examples, Representation
from flava_gpu.objectives import fused_states
from flava_gpu.trained_heads import trained_heads

PAIRS_PER_ROUND = 2048
"""Pairs whose states are in memory together: 65 tokens of 192 numbers are 50 KB a picture."""
PAIRS_PER_BATCH = 64


def load_checkpoint(folder: Path) -> tuple[FlavaForPreTraining, Tokenizer]:
    """A checkpoint with its weights upcast from fp16, and its tokenizer."""
    if not folder.is_dir():
        raise CheckpointMissingError(f"{folder} is missing: run `npm run train` first")
    model = FlavaForPreTraining.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def tensor_names(folder: Path) -> set[str]:
    """Names in the files of a checkpoint."""
    names: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            names |= set(file.keys())
    return names


class EvaluatedModel:
    """`checkpoint` is None where only the encoders are asked."""

    def __init__(self, encoder: Encoder, checkpoint: Path | None) -> None:
        self.encoder = encoder
        self.checkpoint = checkpoint
        self._vectors: dict[tuple[Kind, Output], dict[str, NDArray[np.float32]]] = {}

    @cached_property
    def flava(self) -> FlavaForPreTraining:
        return load_checkpoint(self.folder)[0]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return load_checkpoint(self.folder)[1]

    @property
    def max_text_length(self) -> int:
        return pair_length(self.flava)

    @property
    def image_size(self) -> int:
        return image_geometry(self.flava)[0]

    @property
    def patches_per_side(self) -> int:
        return image_geometry(self.flava)[1]

    @property
    def folder(self) -> Path:
        """Of the checkpoint; raises CheckpointMissingError where there is none."""
        if self.checkpoint is None:
            raise CheckpointMissingError(
                "this needs the checkpoint that the package was made of: --checkpoint names one"
            )
        if not self.checkpoint.is_dir():
            raise CheckpointMissingError(f"{self.checkpoint} is missing: run `npm run train` first")
        return self.checkpoint

    def require_heads(self, *heads: str) -> None:
        """Raises HeadMissingError unless one of `heads` was trained: every checkpoint of ours holds all, some of them noise."""
        if not set(heads).intersection(trained_heads(self.folder)):
            raise HeadMissingError(f"{self.folder} was trained without {' or '.join(heads)}")

    def texts(self, texts: Sequence[str], output: Output) -> NDArray[np.float32]:
        """f32 [texts, width]; `projected` ones have length 1."""
        return self._cached("texts", texts, output)

    def images(self, images: Sequence[Path], output: Output) -> NDArray[np.float32]:
        """f32 [images, width]; `projected` ones have length 1."""
        return self._cached("images", images, output)

    def represent(self, examples: Examples, representation: Representation) -> NDArray[np.float32]:
        """f32 [items, hidden_size]: the tensor that tasks.py names."""
        if representation == "text_cls":
            assert examples.texts is not None
            return self.texts(examples.texts, "cls")
        assert examples.images is not None
        if representation == "image_cls":
            return self.images(examples.images, "cls")
        assert examples.texts is not None
        token0 = [states[:, 0].numpy() for states in self.fused(examples.images, examples.texts)]
        return np.concatenate(token0)

    def fused(self, images: Sequence[Path], texts: Sequence[str]) -> Iterator[Tensor]:
        """Multimodal states after the final layer norm, batch by batch [batch, 1 + image tokens + seq_len, hidden_size].

        The encoders' states come from the engine under evaluation; the multimodal encoder is the checkpoint's, in fp32.
        """
        progress = bar(len(images), "pairs, fused", "pair")
        for start in range(0, len(images), PAIRS_PER_ROUND):
            end = min(start + PAIRS_PER_ROUND, len(images))
            image = self._states("images", images[start:end])
            text = self._states("texts", texts[start:end])
            for first in range(0, end - start, PAIRS_PER_BATCH):
                last = min(first + PAIRS_PER_BATCH, end - start)
                yield self._fuse(image[first:last], text[first:last])
                progress.update(last - first)
        progress.close()

    @torch.no_grad()
    def _fuse(self, image: list[NDArray[np.float32]], text: list[NDArray[np.float32]]) -> Tensor:
        words = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(states) for states in text], batch_first=True)
        lengths = torch.tensor([len(states) for states in text])
        mask = (torch.arange(words.shape[1])[None] < lengths[:, None]).long()  # [batch, seq_len]
        return fused_states(self.flava, torch.from_numpy(np.stack(image)), words, mask)

    def _states(self, kind: Kind, items: Sequence[Any]) -> list[NDArray[np.float32]]:
        distinct = list(dict.fromkeys(items))
        encode = self.encoder.texts if kind == "texts" else self.encoder.images
        states = dict(zip(distinct, encode(distinct, "pre_norm").states(), strict=True))
        return [states[item] for item in items]

    def _cached(self, kind: Kind, items: Sequence[Any], output: Output) -> NDArray[np.float32]:
        known = self._vectors.setdefault((kind, output), {})
        missing = [item for item in dict.fromkeys(items) if str(item) not in known]
        if missing:
            encode = self.encoder.texts if kind == "texts" else self.encoder.images
            values = encode(missing, output).values
            values = unit(values) if output == "projected" else values
            known.update(zip(map(str, missing), values, strict=True))
        return np.stack([known[str(item)] for item in items])
