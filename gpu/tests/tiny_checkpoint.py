"""A tiny random checkpoint on disk, for the tests of what reads checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import FlavaConfig, FlavaForPreTraining

LAYERS = 2
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "cat", "dog", "in", "the", "rain", "small", "heart"]


def write_checkpoint(directory: Path, seed: int = 0, hidden_size: int = 16, intermediate_size: int = 48) -> Path:
    """A fp16 FlavaForPreTraining with a tokenizer file beside it; weights large enough for layers to matter."""
    block = {
        "hidden_size": hidden_size,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": intermediate_size,
        "initializer_range": 0.15,
        "qkv_bias": True,
    }
    config = FlavaConfig(
        image_config={**block, "image_size": 16, "patch_size": 4, "vocab_size": 16},
        text_config={**block, "vocab_size": 40, "max_position_embeddings": 12},
        multimodal_config={**block, "num_hidden_layers": 1},
        image_codebook_config={"hidden_size": 8, "vocab_size": 16},
        hidden_size=hidden_size,
        projection_dim=16,
        init_codebook=False,
    )
    torch.manual_seed(seed)
    FlavaForPreTraining(config).half().save_pretrained(directory)
    vocabulary = {piece: index for index, piece in enumerate(WORDS)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory
