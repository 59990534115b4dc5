"""What a stage writes at its end: a plain Hugging Face checkpoint with the record of how it was made."""

from __future__ import annotations

import copy
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining, FlavaImageCodebook

from flava_gpu.trained_heads import RECORD_FILE
from flava_gpu.training.checkpoints import flush


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


def export_checkpoint(
    folder: Path,
    model: FlavaForPreTraining,
    tokenizer: Tokenizer | None,
    record: dict[str, Any],
    codebook: FlavaImageCodebook | None = None,
) -> None:
    """Save fp16 safetensors, config, tokenizer and `record` where FlavaForPreTraining.from_pretrained finds them.

    `codebook` goes, in fp16 too, with the heads that name its tokens: another training of it numbers them otherwise.
    All is written beside `folder` first, so that a failure leaves what stood there; other files of the folder stay.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        saved = copy.deepcopy(model)
        if codebook is not None:
            saved.image_codebook = copy.deepcopy(codebook)
            saved.config.init_codebook = True
            saved.config.image_codebook_config = codebook.config
        saved.half().save_pretrained(partial)
        if tokenizer is not None:
            tokenizer.save(str(partial / "tokenizer.json"))
        (partial / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for file in partial.iterdir():
            flush(file)
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put_in_place(partial: Path, folder: Path) -> None:
    """The old record goes first and the new one comes last: none ever stands beside other weights."""
    folder.mkdir(exist_ok=True)
    (folder / RECORD_FILE).unlink(missing_ok=True)
    for file in sorted(partial.iterdir(), key=lambda file: file.name == RECORD_FILE):
        file.replace(folder / file.name)
    flush(folder)
