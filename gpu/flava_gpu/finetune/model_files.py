"""The checkpoint a run starts from and the one it leaves: plain Hugging Face folders, safetensors only."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers import FlavaForPreTraining

from flava_gpu.batching import SpecialIds
from flava_gpu.trained_heads import RECORD_FILE
from flava_gpu.training.errors import TrainingError
from flava_gpu.vocabulary import PAD_ID

TEXT_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "preprocessor_config.json",
)
"""Of the starting checkpoint; what is there goes along unchanged."""


@dataclass(frozen=True)
class StartingModel:
    model: FlavaForPreTraining
    tokenizer: Tokenizer
    dtype: torch.dtype
    """Of the file; training itself is in f32."""
    missing: list[str]
    """Parameters that the file lacks and that therefore start from random values."""
    hidden_size: int
    image_size: int
    max_positions: int
    """Of a text."""


def load_starting_model(folder: Path, seed: int) -> StartingModel:
    """Raises TrainingError for a folder that is no FLAVA checkpoint in safetensors."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("model_type") != "flava":
            raise ValueError(f"config.json: model_type {config.get('model_type')!r}, expected 'flava'")
        torch.manual_seed(seed)  # for what is missing
        loaded: Any = FlavaForPreTraining.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        model, info = loaded
        if info["mismatched_keys"]:
            raise ValueError(f"tensors of other shapes than config.json says: {sorted(info['mismatched_keys'])[:3]}")
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise TrainingError("model_unusable", f"the model to start from cannot be used: {error}") from error
    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
        raise TrainingError("model_unusable", "the model to start from has weights that are not finite")
    dtype = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"))
    text, image = model.config.text_config, model.config.image_config
    geometry = (text.hidden_size, image.image_size, text.max_position_embeddings)
    return StartingModel(model, tokenizer, dtype, sorted(info["missing_keys"]), *geometry)


def load_tokenizer(folder: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ValueError(f"tokenizer.json: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    SpecialIds.of(tokenizer)
    if tokenizer.token_to_id("[PAD]") != PAD_ID:
        raise ValueError(f"tokenizer.json: [PAD] is {tokenizer.token_to_id('[PAD]')}, expected {PAD_ID}")
    return tokenizer


def move(module: nn.Module, to: str | torch.dtype) -> None:
    """In place. transformers' own `to` hides its signature from type checkers."""
    module.to(to)  # type: ignore[call-overload]


@torch.no_grad()
def round_weights(model: FlavaForPreTraining, dtype: torch.dtype) -> None:
    """To what the file will hold, so that the last metrics are those of the saved model."""
    for parameter in model.parameters():
        parameter.copy_(parameter.to(dtype))
    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
        raise TrainingError("loss_not_finite", f"the trained weights do not fit {dtype}: lower the learning rate")


def save_model(folder: Path, start: StartingModel, base: Path, record: dict[str, Any]) -> None:
    """Weights, config, tokenizer and the record of the run, where FlavaForPreTraining.from_pretrained finds them."""
    move(start.model, start.dtype)
    start.model.save_pretrained(folder)
    for name in TEXT_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
