"""Texts to ids: masking rules, truncation, and glosses that stay out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flava_gpu.batching import IGNORE_INDEX, TextBatch, encode_texts, mask_tokens
from flava_gpu.pairs import load_glosses
from flava_gpu.vocabulary import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_TOKENS, train_tokenizer
from tests.tiny import SHAPES, write_data

VOCAB = 1000


def long_batch() -> TextBatch:
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(len(SPECIAL_TOKENS), VOCAB, (400, 50), generator=generator)
    input_ids[:, 0], input_ids[:, 40], input_ids[:, 41:] = CLS_ID, SEP_ID, PAD_ID
    return TextBatch(input_ids, (input_ids != PAD_ID).long())


def test_masking_takes_15_percent_as_80_10_10_within_two_points() -> None:
    batch = long_batch()
    masked, labels = mask_tokens(batch, 0.15, VOCAB, torch.Generator().manual_seed(2))
    chosen = labels != IGNORE_INDEX
    words = batch.input_ids >= len(SPECIAL_TOKENS)
    assert chosen.sum() / words.sum() == pytest.approx(0.15, abs=0.02)
    assert (masked[chosen] == MASK_ID).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (masked[chosen] == batch.input_ids[chosen]).float().mean() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(labels[chosen], batch.input_ids[chosen])
    assert torch.equal(masked[~chosen], batch.input_ids[~chosen])


def test_masking_never_takes_special_tokens_and_leaves_no_text_without_a_label() -> None:
    batch = long_batch()
    _, labels = mask_tokens(batch, 0.0, VOCAB, torch.Generator().manual_seed(3))
    chosen = labels != IGNORE_INDEX
    assert torch.equal(chosen.sum(dim=1), torch.ones(400, dtype=torch.long))
    assert (batch.input_ids[chosen] >= len(SPECIAL_TOKENS)).all()


def test_a_text_of_special_tokens_alone_gets_no_label() -> None:
    input_ids = torch.tensor([[CLS_ID, SEP_ID]])
    masked, labels = mask_tokens(
        TextBatch(input_ids, torch.ones(1, 2).long()), 0.5, VOCAB, torch.Generator().manual_seed(0)
    )
    assert torch.equal(masked, input_ids)
    assert (labels == IGNORE_INDEX).all()


def test_truncation_keeps_the_last_separator() -> None:
    tokenizer = train_tokenizer(SHAPES * 3, 64)
    batch = encode_texts(tokenizer, ["disc " * 50, "bar"], 9)
    assert batch.input_ids.shape == (2, 9)
    assert batch.input_ids[0, -1] == SEP_ID
    assert batch.attention_mask.sum(dim=1)[0] == 9


def test_glosses_that_define_a_held_out_concept_are_left_out(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    everything = load_glosses(data, set())
    kept = load_glosses(data, {everything[0].partition(":")[0]})
    assert kept == everything[1:]


def test_held_out_glosses_and_training_glosses_are_apart_and_together_all(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    train, held_out = load_glosses(data, set()), load_glosses(data, set(), "held-out")
    assert held_out
    assert not set(train) & set(held_out)
    assert len(train) + len(held_out) == len(SHAPES) ** 2
