"""FLAVA's losses on transformers' own modules: global contrastive, MLM, MIM, and MMM with ITM on fused states.

The maths follows FLAVA (arXiv 2112.04482) §3.1 and FlavaForPreTraining; the parts are called one by one because each
update runs only some of them.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from transformers import FlavaForPreTraining

from flava_gpu.batching import IGNORE_INDEX
from flava_gpu.distributed import Ranks
from flava_gpu.token_loss import at_least_f32, token_cross_entropy

LOGIT_SCALE_RANGE = (0.0, 4.6052)  # exp() gives a multiplier of 1 to 100, as in FlavaGlobalContrastiveHead


def image_states(
    model: FlavaForPreTraining,
    pixel_values: Tensor,
    kept_patches: Tensor | None = None,
    bool_masked_pos: Tensor | None = None,
) -> Tensor:
    """States before the final layer norm, [batch, 1 + patches, hidden_size].

    `kept_patches` int64 [batch, kept] picks patches (0 is the top left one); CLS always stays. `bool_masked_pos`
    [batch, rows, columns] or [batch, patches] is 1 where the mask token stands for a patch.
    """
    image_model = model.flava.image_model
    masked = None if bool_masked_pos is None else bool_masked_pos.flatten(1)
    embedded = image_model.embeddings(pixel_values, bool_masked_pos=masked)  # [batch, 1 + num_patches, hidden_size]
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
    return F.normalize(at_least_f32(model.flava.image_projection(token0)), dim=-1)


def text_embedding(model: FlavaForPreTraining, states: Tensor) -> Tensor:
    """L2-normalized projection of token 0 after the final layer norm, f32 [batch, projection_dim]."""
    token0 = model.flava.text_model.layernorm(states[:, 0])
    return F.normalize(at_least_f32(model.flava.text_projection(token0)), dim=-1)


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
    # A cosine of bf16, times a scale of up to 100, would be off by a fifth of a nat.
    with torch.autocast(image.device.type, enabled=False):
        to_text = F.cross_entropy(image @ all_texts.T * scale, target)  # [batch, global batch]
        to_image = F.cross_entropy(text @ all_images.T * scale, target)
    return (to_text + to_image) / 2


def global_contrastive_loss(
    model: FlavaForPreTraining, image: Tensor, text: Tensor, ranks: Ranks, has_global_backprop: bool = True
) -> Tensor:
    """Of this rank's pairs against all ranks' pairs, with gradients to all of them (paper §3.1: worth 1.65 points).

    Without `has_global_backprop` the gathered side is constant, as in transformers' local variant: the same loss, and
    another gradient.
    """
    if ranks.count == 1:
        return contrastive_loss(model, image, text)
    sides = (image, text) if has_global_backprop else (image.detach(), text.detach())
    return contrastive_loss(
        model, image, text, (ranks.gather(sides[0]), ranks.gather(sides[1]), ranks.rank * len(image))
    )


def mlm_loss(
    model: FlavaForPreTraining, masked_ids: Tensor, attention_mask: Tensor, labels: Tensor, ranks: Ranks | None = None
) -> Tensor:
    """Cross entropy of the masked word pieces, from the text encoder's states after its final layer norm.

    A token loss of several devices is normalized by all their masked tokens (token_loss.py).
    """
    states = model.flava.text_model.layernorm(text_states(model, masked_ids, attention_mask))
    return _masked_cross_entropy(model.mlm_head, states, labels, ranks)


def mim_loss(
    model: FlavaForPreTraining,
    pixel_values: Tensor,
    bool_masked_pos: Tensor,
    codebook_tokens: Tensor,
    ranks: Ranks | None = None,
) -> Tensor:
    """Cross entropy of the masked patches' visual tokens, from the image encoder's states after its final layer norm.

    `bool_masked_pos` and `codebook_tokens` int64 are [batch, rows, columns] of patches; only masked ones are predicted.
    """
    states = image_states(model, pixel_values, bool_masked_pos=bool_masked_pos)
    patches = model.flava.image_model.layernorm(states)[:, 1:]  # CLS is never masked
    return _masked_cross_entropy(model.mim_head, patches, patch_labels(bool_masked_pos, codebook_tokens), ranks)


def patch_labels(bool_masked_pos: Tensor, codebook_tokens: Tensor) -> Tensor:
    """int64 [batch, patches], -100 where nothing is predicted. A new tensor: transformers changes the caller's in place."""
    return torch.where(bool_masked_pos.bool(), codebook_tokens, IGNORE_INDEX).flatten(1)


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
    mim_labels: Tensor | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Tensor]:
    """`itm` on all pairs, `mmm_text` and, with `mim_labels`, `mmm_image` on the matched ones.

    From unimodal states before their final layer norms: `image` [batch, 1 + patches, hidden_size] of the masked picture,
    `text` [batch, seq_len, hidden_size] of the masked words; `mim_labels` int64 [batch, patches] and `mlm_labels` int64
    [batch, seq_len], -100 where nothing is predicted; `itm_labels` int64 [batch], 1 = match. As in FlavaForPreTraining, where
    no pair of a batch matches all of them count as matched.
    """
    states = fused_states(model, image, text, attention_mask)
    losses = {"itm": F.cross_entropy(at_least_f32(model.itm_head(states)), itm_labels)}
    matched = matched_pairs(itm_labels, ranks)
    words = states[matched, -text.shape[1] :]
    losses["mmm_text"] = _masked_cross_entropy(model.mmm_text_head, words, mlm_labels[matched], ranks)
    if mim_labels is not None:
        patches = states[matched, 2 : 1 + image.shape[1]]  # behind the multimodal CLS and the image's
        losses["mmm_image"] = _masked_cross_entropy(model.mmm_image_head, patches, mim_labels[matched], ranks)
    return losses


def matched_pairs(itm_labels: Tensor, ranks: Ranks | None = None) -> Tensor:
    """bool [batch]: the pairs that belong together, or all of them where no rank has one.

    Ranks decide it together: one without a match beside others that have some must not train on its mismatches.
    """
    matched = itm_labels != 0
    count = matched.sum()
    if ranks is not None and ranks.count > 1:
        dist.all_reduce(count)
    return matched if count > 0 else torch.ones_like(matched)


def _masked_cross_entropy(head: torch.nn.Module, states: Tensor, labels: Tensor, ranks: Ranks | None) -> Tensor:
    chosen = labels != IGNORE_INDEX
    return token_cross_entropy(head(states[chosen]), labels[chosen], ranks)
