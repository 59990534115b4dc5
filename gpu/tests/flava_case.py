"""A tiny FLAVA with weights large enough for layers to matter, and inputs of every objective, for the tests of traps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import FlavaForPreTraining

from flava_gpu.batching import IGNORE_INDEX
from flava_gpu.training.config import ModelConfig

BATCH, WORDS, SIDE = 6, 9, 4
PATCHES = SIDE * SIDE
GEOMETRY = ModelConfig(
    image_size=16,
    patch_size=4,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    multimodal_layers=2,
    vocab_size=50,
    max_text_length=12,
    image_vocab_size=12,
    codebook_hidden_size=4,
)


def make_model() -> FlavaForPreTraining:
    """In evaluation mode, f32."""
    torch.manual_seed(0)
    model = FlavaForPreTraining(GEOMETRY.to_flava())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@dataclass(frozen=True)
class Case:
    """Six pairs, the fourth with padding; the second and the fifth do not match."""

    pixel_values: Tensor
    input_ids: Tensor
    input_ids_masked: Tensor
    attention_mask: Tensor
    mlm_labels: Tensor
    itm_labels: Tensor
    mim_labels: Tensor  # of every patch, [BATCH, SIDE, SIDE]
    bool_masked_pos: Tensor

    def but(self, **fields: Tensor) -> Case:
        return replace(self, **fields)

    def for_transformers(self, *names: str) -> dict[str, Any]:
        """Copies of the named inputs, or of all: transformers changes labels in place."""
        return {name: tensor.clone() for name, tensor in vars(self).items() if not names or name in names}


def make_case() -> Case:
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(5, GEOMETRY.vocab_size, (BATCH, WORDS), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[3, 6:] = 0
    input_ids[3, 6:] = 0
    is_masked = (torch.rand(input_ids.shape, generator=generator) < 0.3) & (attention_mask == 1)
    is_masked[:, 1] = True
    return Case(
        pixel_values=torch.randn((BATCH, 3, 16, 16), generator=generator),
        input_ids=input_ids,
        input_ids_masked=torch.where(is_masked, 4, input_ids),
        attention_mask=attention_mask,
        mlm_labels=torch.where(is_masked, input_ids, IGNORE_INDEX),
        itm_labels=torch.tensor([1, 0, 1, 1, 0, 1]),
        mim_labels=torch.randint(GEOMETRY.image_vocab_size, (BATCH, SIDE, SIDE), generator=generator),
        bool_masked_pos=(torch.rand((BATCH, SIDE, SIDE), generator=generator) < 0.4).long(),
    )
