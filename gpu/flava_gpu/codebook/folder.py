"""A codebook on disk: a plain Hugging Face folder of FlavaImageCodebook, or the one inside a full FLAVA checkpoint."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open
from safetensors.torch import load_file
from transformers import FlavaConfig, FlavaImageCodebook, FlavaImageCodebookConfig

from flava_gpu.training.config import ConfigError, ModelConfig

WEIGHTS = "model.safetensors"
PREFIX = "image_codebook."
"""Of the codebook's tensors in a checkpoint of FlavaForPreTraining."""


class CodebookError(ValueError):
    """The folder holds no codebook, or only part of one."""


def save_codebook(folder: Path, codebook: FlavaImageCodebook) -> None:
    """Where FlavaImageCodebook.from_pretrained reads it."""
    saved = copy.deepcopy(codebook)
    saved.config.freeze = True
    saved.save_pretrained(folder)


def load_codebook(folder: Path) -> FlavaImageCodebook:
    """Frozen and in inference mode. Raises CodebookError rather than leave a single weight random.

    FlavaImageCodebook.from_pretrained has two traps (transformers 5.18): of a *full* checkpoint it finds no name, loads nothing
    and says so in a log line only; and weights that it loads take gradients, whatever the configuration's `freeze` says.
    """
    file = folder / WEIGHTS
    if not file.is_file():
        raise CodebookError(f"{folder} has no {WEIGHTS}: train the codebook stage first")
    with safe_open(file, "pt") as tensors:
        names = set(tensors.keys())
    if any(name.startswith(PREFIX) for name in names):
        codebook = _from_full_checkpoint(folder)
    else:
        loaded: Any = FlavaImageCodebook.from_pretrained(folder, output_loading_info=True)
        codebook, told = loaded
        if missing := sorted(told["missing_keys"]):
            raise CodebookError(f"{folder} is no codebook: {len(missing)} tensors are missing, the first {missing[0]}")
    return codebook.eval().requires_grad_(False)


def load_fitting_codebook(folder: Path, model: ModelConfig) -> FlavaImageCodebook:
    """The same; raises ConfigError unless it has as many codes as the model's heads name."""
    codebook = load_codebook(folder)
    if codebook.vocab_size != model.image_vocab_size:
        raise ConfigError(f"model.image_vocab_size: {folder} has {codebook.vocab_size} codes")
    return codebook


def _from_full_checkpoint(folder: Path) -> FlavaImageCodebook:
    config = FlavaConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    codebook = FlavaImageCodebook(cast(FlavaImageCodebookConfig, config.image_codebook_config))
    tensors = load_file(folder / WEIGHTS)
    own = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    if missing := sorted(codebook.state_dict().keys() - own.keys()):
        raise CodebookError(f"{folder}: its codebook lacks {len(missing)} tensors, the first {missing[0]}")
    codebook.load_state_dict(own)
    return codebook
