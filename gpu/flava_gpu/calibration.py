"""The inputs that rounding is calibrated on: made-up texts and procedural pictures, none of which parity measures with.

On a half-trained checkpoint they served as well as captions and pictures of the training set, and they are there in a
fresh clone. Random words of the checkpoint's own vocabulary make up half of the texts, so that what is learned from a
few dozen nouns does not stay with those.
"""

from __future__ import annotations

import random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.made_up_texts import Text, TokenizedText, made_up_texts, tokenize_texts
from flava_gpu.package_layout import encoder_config
from flava_gpu.parity_inputs import normalize_pictures, parity_texts
from flava_gpu.procedural_pictures import procedural_pictures

TEXT_SEED = 99
RANDOM_TEXT_COUNT = 448
MAX_RANDOM_WORDS = 40
FIRST_PICTURE = 1000
"""Past all indices that parity uses."""
PICTURE_TOKENS = 12_608
"""Tokens that the pictures shall make: 64 pictures of 197 tokens, four times the inputs of the widest Linear."""
MAX_PICTURES = 256
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def calibration_texts(reader: CheckpointReader) -> list[TokenizedText]:
    """Made-up captions and random words, without any text whose tokens parity measures with."""
    measured = {tuple(text.input_ids) for text in parity_texts(reader.directory)}
    texts = tokenize_texts(reader.directory, [*made_up_texts(TEXT_SEED), *random_word_texts(reader)])
    return [text for text in texts if tuple(text.input_ids) not in measured]


def random_word_texts(reader: CheckpointReader) -> list[Text]:
    """Texts of 1 to 40 whole words drawn from the tokenizer's vocabulary."""
    tokenizer = Tokenizer.from_file(str(reader.directory / "tokenizer.json"))
    words = sorted(word for word in tokenizer.get_vocab() if len(word) > 1 and all(sign in ALPHABET for sign in word))
    if not words:
        return []
    chooser = random.Random(TEXT_SEED)
    return [
        (" ".join(chooser.choices(words, k=chooser.randint(1, MAX_RANDOM_WORDS))), None)
        for _ in range(RANDOM_TEXT_COUNT)
    ]


def calibration_pictures(reader: CheckpointReader) -> Tensor:
    """pixel_values f32 [n, 3, size, size]."""
    config = encoder_config(reader.config, "image")
    tokens = (config["image_size"] // config["patch_size"]) ** 2 + 1
    count = min(MAX_PICTURES, -(-PICTURE_TOKENS // tokens))
    return normalize_pictures(procedural_pictures(count, config["image_size"], FIRST_PICTURE))


def quantized_rows(rows: Tensor, terms: int = 1) -> Tensor:
    """Rows as the engine's GEMM sees them: int8 per row and back; with two terms, int8 of what the first left as well."""
    if terms > 1:
        first = quantized_rows(rows)
        return first + quantized_rows(rows - first, terms - 1)
    scale = rows.abs().amax(dim=-1, keepdim=True) / 127
    scale = torch.where(scale == 0, 1.0, scale)
    return (rows / scale).round() * scale
