"""What a stage writes at its end: a plain Hugging Face checkpoint with the record of how it was made."""

from __future__ import annotations

import copy
import json
import platform
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


def export_checkpoint(
    folder: Path, model: FlavaForPreTraining, tokenizer: Tokenizer | None, record: dict[str, Any]
) -> None:
    """Save fp16 safetensors, config, tokenizer and `record` where FlavaForPreTraining.from_pretrained finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    half = copy.deepcopy(model).half()
    half.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
