"""Rows as tensors on the device: pictures normalized, texts tokenized, targets as numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from flava_gpu.batching import TextBatch, encode_texts, to_device
from flava_gpu.finetune.dataset import Dataset
from flava_gpu.finetune.rows import Inputs
from flava_gpu.made_up_texts import PAIR_LENGTH
from flava_gpu.sampling import stream_seed


@dataclass(frozen=True)
class Batch:
    pixel_values: Tensor | None
    """f32 [batch, 3, size, size]"""
    texts: list[str]
    text: TextBatch | None
    targets: Tensor | None
    """Label ids int64 [batch], or standardized values f32 [batch]."""


class Batcher:
    """Makes batches of one data set. Which of a row's `texts` is shown depends on seed, epoch and row alone."""

    def __init__(
        self, dataset: Dataset, targets: Tensor | None, tokenizer: Tokenizer, max_length: int, seed: int, device: str
    ) -> None:
        self.dataset = dataset
        self.targets = targets
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.seed = seed
        self.device = device

    def draw(self, positions: Sequence[int], epoch: int) -> Batch:
        texts = [self.caption(position, epoch) for position in positions] if self.dataset.inputs != "image" else []
        pixel_values = self.dataset.pixel_values(positions)
        return Batch(
            pixel_values=None if pixel_values is None else pixel_values.to(self.device),
            texts=texts,
            text=self.encode(texts) if texts else None,
            targets=None if self.targets is None else self.targets[list(positions)].to(self.device),
        )

    def caption(self, position: int, epoch: int) -> str:
        texts = self.dataset.rows[position].texts
        if len(texts) == 1:
            return texts[0]
        return random.Random(stream_seed(self.seed, "caption", epoch, position)).choice(texts)

    def encode(self, texts: list[str]) -> TextBatch:
        return to_device(encode_texts(self.tokenizer, texts, self.max_length), self.device)


def max_text_length(positions: int, inputs: Inputs) -> int:
    """FLAVA's pairs have 77 tokens; a text alone may fill the table of `positions`."""
    return positions if inputs == "text" else min(PAIR_LENGTH, positions)


def count_tokens(batch: Batch) -> int:
    return 0 if batch.text is None else int(batch.text.attention_mask.sum())


def class_targets(dataset: Dataset, labels: list[str]) -> Tensor:
    ids = {label: index for index, label in enumerate(labels)}
    return torch.tensor([ids[row.label] for row in dataset.rows if row.label is not None])


def value_targets(dataset: Dataset, mean: float, scale: float) -> Tensor:
    """Standardized with the training rows' mean and deviation, f32 [rows]."""
    values = torch.tensor([row.value for row in dataset.rows if row.value is not None], dtype=torch.float64)
    return ((values - mean) / scale).float()
