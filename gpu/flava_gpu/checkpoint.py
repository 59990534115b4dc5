"""What training writes: a resumable state during the run and a plain Hugging Face checkpoint at its end."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining

from flava_gpu.config import TrainConfig, as_plain


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that a kill at any moment leaves the old or the new file, never half of one."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_state(path: Path) -> dict[str, Any] | None:
    """The last whole state, or None before the first."""
    return torch.load(path, weights_only=True) if path.exists() else None


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


def export_checkpoint(
    folder: Path, model: FlavaForPreTraining, tokenizer: Tokenizer, config: TrainConfig, record: dict[str, Any]
) -> None:
    """Save fp16 safetensors, config, tokenizer and `record` where FlavaForPreTraining.from_pretrained finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    half = FlavaForPreTraining(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    training = {"config": as_plain(config), "versions": versions(), **record}
    (folder / "training.json").write_text(json.dumps(training, indent=2) + "\n", encoding="utf-8")
