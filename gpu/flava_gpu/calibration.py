"""What goes into each Linear of both encoders, as second moments: the knowledge that compensated rounding needs.

Calibrated on made-up texts and pictures: other captions and pictures than parity measures with, the same oddities. On a half-trained
checkpoint they served as well as those of the training set, and they are there in a fresh clone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import FlavaForPreTraining

from flava_gpu.made_up_texts import made_up_texts, tokenize_texts
from flava_gpu.parity import encode_pictures, encode_text
from flava_gpu.procedural_pictures import procedural_pictures
from flava_gpu.quantize import MAX_ROW_CODE

SEED = 99
FIRST_PICTURE = 1000
"""Past all indices that parity uses."""
PICTURE_COUNT = 128
PATCHES = "image_model.embeddings.patch_embeddings.projection"

Moments = dict[str, NDArray[np.float64]]
"""By name of the Linear: mean of x x^T over its inputs, [in, in]."""


@torch.inference_mode()
def input_moments(checkpoint: Path) -> Moments:
    """Run the calibration inputs through the fp32 model and average what each Linear is given."""
    model = FlavaForPreTraining.from_pretrained(checkpoint, dtype=torch.float32).eval().flava
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rows = quantized_rows(linear_inputs(module, inputs[0])).double()  # [rows, in]
            sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + rows.T @ rows
            counts[name] = counts.get(name, 0) + len(rows)

        return add

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) or name == PATCHES:
            module.register_forward_pre_hook(watch(name))
    for text in tokenize_texts(checkpoint, made_up_texts(SEED)):
        encode_text(model, text)
    size: int = json.loads((checkpoint / "config.json").read_text())["image_config"]["image_size"]
    encode_pictures(model, procedural_pictures(PICTURE_COUNT, size, FIRST_PICTURE))
    return {name: (total / counts[name]).numpy() for name, total in sums.items()}


def linear_inputs(module: nn.Module, inputs: Tensor) -> Tensor:
    """Inputs as rows [rows, in]; the patch convolution's as flattened patches."""
    if isinstance(module, nn.Conv2d):
        side = module.kernel_size[0]
        patches = nn.functional.unfold(inputs, side, stride=side)  # [batch, in, num_patches]
        return patches.transpose(1, 2).flatten(0, 1)
    return inputs.flatten(0, -2)


def quantized_rows(rows: Tensor) -> Tensor:
    """Rows as the engine's GEMM sees them: int8 per row and back."""
    scale = rows.abs().amax(dim=-1, keepdim=True) / MAX_ROW_CODE
    scale = torch.where(scale == 0, 1.0, scale)
    return (rows / scale).round() * scale
