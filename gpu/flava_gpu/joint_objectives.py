"""FLAVA's losses of one batch as one module, so that DDP and FSDP see a forward pass whatever the batch holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import FlavaForPreTraining

from flava_gpu.distributed import Ranks
from flava_gpu.joint_batches import FusedBatch, ImagesBatch, JointBatch, PairsBatch, WordsBatch
from flava_gpu.objectives import (
    global_contrastive_loss,
    image_embedding,
    image_states,
    mim_loss,
    mlm_loss,
    multimodal_losses,
    text_embedding,
    text_states,
)


@dataclass(frozen=True)
class WeightsConfig:
    """Of the losses in their sum; 0 leaves a loss out."""

    contrastive: float
    itm: float
    mmm_text: float
    mmm_image: float
    mim: float
    mlm: float

    @property
    def fuse(self) -> bool:
        """Whether a loss of the multimodal encoder is asked for."""
        return max(self.itm, self.mmm_text, self.mmm_image) > 0


class FlavaObjectives(nn.Module):
    """`global_backprop`: whether the contrastive gradient reaches the embeddings of other ranks (paper §3.1)."""

    def __init__(
        self, model: FlavaForPreTraining, weights: WeightsConfig, ranks: Ranks, global_backprop: bool = True
    ) -> None:
        super().__init__()
        self.model = model
        self.weights = weights
        self.ranks = ranks
        self.global_backprop = global_backprop

    def forward(self, batch: JointBatch) -> dict[str, Tensor]:
        """The losses that have a weight, by name and not yet weighted; `loss` is their weighted sum."""
        if isinstance(batch, WordsBatch):
            losses = {"mlm": mlm_loss(self.model, batch.masked_ids, batch.attention_mask, batch.mlm_labels, self.ranks)}
        elif isinstance(batch, ImagesBatch):
            assert batch.bool_masked_pos is not None
            assert batch.codebook_tokens is not None
            losses = {
                "mim": mim_loss(
                    self.model, batch.pixel_values, batch.bool_masked_pos, batch.codebook_tokens, self.ranks
                )
            }
        else:
            losses = self._contrastive(batch) if self.weights.contrastive else {}
            if batch.fused is not None:
                losses |= self._fused(batch.fused)
        losses = {name: loss for name, loss in losses.items() if getattr(self.weights, name)}
        weighted = [getattr(self.weights, name) * loss for name, loss in losses.items()]
        return {**losses, "loss": torch.stack(weighted).sum()}

    def _contrastive(self, batch: PairsBatch) -> dict[str, Tensor]:
        image = image_embedding(self.model, image_states(self.model, batch.pixel_values, batch.kept_patches))
        states = text_states(self.model, batch.text.input_ids, batch.text.attention_mask)
        text = text_embedding(self.model, states)
        return {"contrastive": global_contrastive_loss(self.model, image, text, self.ranks, self.global_backprop)}

    def _fused(self, fused: FusedBatch) -> dict[str, Tensor]:
        image, words = fused.image, fused.words
        return multimodal_losses(
            self.model,
            image_states(self.model, image.pixel_values, bool_masked_pos=image.bool_masked_pos),
            text_states(self.model, words.masked_ids, words.attention_mask),
            words.attention_mask,
            words.mlm_labels,
            fused.itm_labels,
            image.mim_labels,
            self.ranks,
        )
