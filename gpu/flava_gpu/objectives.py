"""FLAVA's losses on transformers' own modules: global contrastive, MLM, and MMM-text with ITM on fused states.

The maths follows FLAVA (arXiv 2112.04482) §3.1 and FlavaForPreTraining; the parts are called one by one because each
update runs only some of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import FlavaForPreTraining

from flava_gpu.batching import IGNORE_INDEX

LOGIT_SCALE_RANGE = (0.0, 4.6052)  # exp() gives a multiplier of 1 to 100, as in FlavaGlobalContrastiveHead


def image_states(model: FlavaForPreTraining, pixel_values: Tensor, kept_patches: Tensor | None = None) -> Tensor:
    """States before the final layer norm, [batch, 1 + patches, hidden_size].

    `kept_patches` int64 [batch, kept] picks patches (0 is the top left one); CLS always stays.
    """
    image_model = model.flava.image_model
    embedded = image_model.embeddings(pixel_values)  # [batch, 1 + num_patches, hidden_size]
    if kept_patches is not None:
        index = kept_patches.unsqueeze(-1).expand(-1, -1, embedded.shape[-1]) + 1
        embedded = torch.cat([embedded[:, :1], embedded.gather(1, index)], dim=1)
    return image_model.encoder(embedded).last_hidden_state


def text_states(model: FlavaForPreTraining, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """States before the final layer norm, [batch, seq_len, hidden_size]."""
    output = model.flava.text_model(input_ids, attention_mask=attention_mask, output_hidden_states=True)
    return output.hidden_states[-1]


def image_embedding(model: FlavaForPreTraining, states: Tensor) -> Tensor:
    """L2-normalized projection of token 0 after the final layer norm, f32 [batch, projection_dim]."""
    token0 = model.flava.image_model.layernorm(states[:, 0])
    return F.normalize(model.flava.image_projection(token0).float(), dim=-1)


def text_embedding(model: FlavaForPreTraining, states: Tensor) -> Tensor:
    """L2-normalized projection of token 0 after the final layer norm, f32 [batch, projection_dim]."""
    token0 = model.flava.text_model.layernorm(states[:, 0])
    return F.normalize(model.flava.text_projection(token0).float(), dim=-1)


def contrastive_loss(
    model: FlavaForPreTraining, image: Tensor, text: Tensor, gathered: tuple[Tensor, Tensor, int] | None = None
) -> Tensor:
    """Mean of both directions' cross entropy; row i of `image` and of `text` [batch, dim] belong together.

    `gathered`: all images and all texts of a batch that lies on several devices, [global batch, dim] with gradients, and
    where this device's rows begin among them. The mean of the devices' losses is then the loss of the whole batch.
    """
    with torch.no_grad():
        model.flava.logit_scale.clamp_(*LOGIT_SCALE_RANGE)
    all_images, all_texts, first = gathered or (image, text, 0)
    scale = model.flava.logit_scale.exp()
    target = first + torch.arange(len(image), device=image.device)
    to_text = F.cross_entropy(image @ all_texts.T * scale, target)  # [batch, global batch]
    to_image = F.cross_entropy(text @ all_images.T * scale, target)
    return (to_text + to_image) / 2


def mlm_loss(model: FlavaForPreTraining, masked_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the masked word pieces, from the text encoder's states after its final layer norm."""
    states = model.flava.text_model.layernorm(text_states(model, masked_ids, attention_mask))
    return _masked_cross_entropy(model.mlm_head, states, labels)


def fused_states(model: FlavaForPreTraining, image: Tensor, text: Tensor, attention_mask: Tensor) -> Tensor:
    """Multimodal states after the final layer norm, [batch, 1 + image tokens + seq_len, hidden_size].

    `image` [batch, 1 + patches, hidden_size] and `text` [batch, seq_len, hidden_size] are the unimodal states before their
    final layer norms, which is what FLAVA's multimodal encoder takes.
    """
    flava = model.flava
    fused = torch.cat([flava.image_to_mm_projection(image), flava.text_to_mm_projection(text)], dim=1)
    image_mask = attention_mask.new_ones(len(image), 1 + image.shape[1])  # the multimodal CLS and every patch
    return flava.multimodal_model(fused, attention_mask=torch.cat([image_mask, attention_mask], dim=1))[0]


def multimodal_losses(
    model: FlavaForPreTraining,
    image: Tensor,
    text: Tensor,
    attention_mask: Tensor,
    mlm_labels: Tensor,
    itm_labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """MMM-text on matched pairs and ITM on all, from unimodal states before their final layer norms.

    `image` [batch, 1 + patches, hidden_size], `text` [batch, seq_len, hidden_size] of the masked words,
    `itm_labels` int64 [batch], 1 = match.
    """
    states = fused_states(model, image, text, attention_mask)
    itm = F.cross_entropy(model.itm_head(states).float(), itm_labels)
    matched = itm_labels == 1
    if not matched.any():
        return itm.new_zeros(()), itm
    words = states[matched, -text.shape[1] :]
    return _masked_cross_entropy(model.mmm_text_head, words, mlm_labels[matched]), itm


def _masked_cross_entropy(head: torch.nn.Module, states: Tensor, labels: Tensor) -> Tensor:
    chosen = labels != IGNORE_INDEX
    if not chosen.any():
        return states.new_zeros(())  # the mean of nothing is no number
    return F.cross_entropy(head(states[chosen]).float(), labels[chosen])
