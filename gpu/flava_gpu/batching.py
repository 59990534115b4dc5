"""Texts to token ids, and BERT's masking of them. Knows nothing of where texts come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from flava_gpu.vocabulary import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_TOKENS, UNK_ID

T = TypeVar("T")
IGNORE_INDEX = -100  # FlavaConfig.ce_ignore_index


@dataclass(frozen=True)
class SpecialIds:
    """Where a vocabulary keeps the tokens that are no word pieces; the embedded model's has them first."""

    mask: int = MASK_ID
    others: tuple[int, ...] = (PAD_ID, UNK_ID, CLS_ID, SEP_ID)
    first_piece: int = len(SPECIAL_TOKENS)
    """Random word pieces are drawn from here on."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> SpecialIds:
        """bert-base-uncased has [UNK] at 100 and [MASK] at 103, with unused ids before and words behind."""
        found = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
        ids = [number for number in found.values() if number is not None]
        if len(ids) < len(SPECIAL_TOKENS):
            raise ValueError(f"the tokenizer lacks {[token for token, number in found.items() if number is None]}")
        *others, mask = ids
        return cls(mask, tuple(others), max(ids) + 1)


@dataclass(frozen=True)
class TextBatch:
    input_ids: Tensor  # int64 [batch, seq_len], right-padded
    attention_mask: Tensor  # int64 [batch, seq_len], 1 = attend


def encode_texts(tokenizer: Tokenizer, texts: list[str], max_length: int) -> TextBatch:
    """Token ids cut to `max_length` with the last [SEP] kept, padded to the longest."""
    rows: list[list[int]] = []
    for encoding in tokenizer.encode_batch(texts):
        ids = encoding.ids
        rows.append(ids if len(ids) <= max_length else [*ids[: max_length - 1], ids[-1]])
    width = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), width), PAD_ID)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.tensor(row)
    return TextBatch(input_ids, (input_ids != PAD_ID).long())


def to_device(batch: T, device: str | torch.device) -> T:
    """A tensor, or a dataclass of such, there; None stays."""
    if isinstance(batch, Tensor):
        return cast(T, batch.to(device))
    if batch is None:
        return batch
    return replace(cast(Any, batch), **{name: to_device(part, device) for name, part in vars(batch).items()})


def mask_tokens(
    batch: TextBatch,
    probability: float,
    vocab_size: int,
    generator: torch.Generator,
    special: SpecialIds = SpecialIds(),
) -> tuple[Tensor, Tensor]:
    """BERT's masking: of the chosen positions 80 % [MASK], 10 % a random word piece, 10 % unchanged.

    Returns masked input ids and labels, int64 [batch, seq_len], labels -100 where nothing is predicted. Special tokens
    are never chosen; every row with a word has at least one label, since a batch without labels has no mean loss.
    """
    input_ids = batch.input_ids
    eligible = ~torch.isin(input_ids, torch.tensor([special.mask, *special.others]))
    scores = torch.rand(input_ids.shape, generator=generator).masked_fill(~eligible, 2.0)
    chosen = scores < probability
    lowest = torch.zeros_like(chosen).scatter_(1, scores.argmin(dim=1, keepdim=True), True)
    chosen = torch.where(chosen.any(dim=1, keepdim=True), chosen, lowest) & eligible
    labels = torch.where(chosen, input_ids, IGNORE_INDEX)
    action = torch.rand(input_ids.shape, generator=generator)
    words = torch.randint(special.first_piece, vocab_size, input_ids.shape, generator=generator)
    masked = torch.where(chosen & (action < 0.8), special.mask, input_ids)
    masked = torch.where(chosen & (action >= 0.9), words, masked)
    return masked, labels
