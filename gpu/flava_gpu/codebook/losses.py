"""What the dVAE minimizes: how far a reconstruction is, and how far the codes are from the uniform prior; all in nats.

The KL term of DALL-E (arXiv 2102.12092) is taken apart as in "ELBO surgery" (Hoffman & Johnson 2016):
KL(q(z|x) || uniform), averaged over pictures, = I(x; z) + KL(q(z) || uniform). With one weight for both, either weight failed
within our few hundred updates (docs/experiments.md): a low one let the codes collapse to a handful before the decoder could
tell them apart, a high one kept each picture's codes random. With two, the first can be annealed away, so that codes come to
say something, while the second goes on keeping all of them in use.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reconstruction = Literal["l1", "l2", "logit-laplace"]
MIN_LOG_SCALE = -3.0
"""Of logit-Laplace: a drawing's flat areas are predicted exactly, and its likelihood has no bound as the scale goes to 0."""

LEAST_SHARE = 1e-12


def output_channels(kind: Reconstruction) -> int:
    """Maps that the decoder gives: three colours, and logit-Laplace's scale of each."""
    return 6 if kind == "logit-laplace" else 3


def decoded_pixels(maps: Tensor) -> Tensor:
    """The decoder's maps [batch, channels, h, w] as codebook pixels f32 [batch, 3, h, w]: the median of logit-Laplace."""
    return torch.sigmoid(maps[:, :3].float())


def reconstruction_loss(maps: Tensor, pixels: Tensor, kind: Reconstruction) -> Tensor:
    """Mean over pictures, colours and pixels; `pixels` f32 [batch, 3, h, w], mapped to [0.1, 0.9]."""
    if kind == "l1":
        return F.l1_loss(decoded_pixels(maps), pixels)
    if kind == "l2":
        return F.mse_loss(decoded_pixels(maps), pixels)
    location, log_scale = maps.float().chunk(2, dim=1)
    log_scale = log_scale.clamp(min=MIN_LOG_SCALE)
    deviation = (torch.logit(pixels) - location).abs() * torch.exp(-log_scale)
    return (deviation + log_scale + math.log(2) + torch.log(pixels * (1 - pixels))).mean()


def prior_terms(logits: Tensor) -> tuple[Tensor, Tensor]:
    """I(x; z) and KL(q(z) || uniform) of a batch, from logits f32 [batch, vocab_size, rows, columns].

    q(z) is the mean of q(z|x) over the batch's pictures and places. The sum of both is the mean KL(q(z|x) || uniform).
    """
    log_posterior = F.log_softmax(logits, dim=1)
    entropy = -(log_posterior.exp() * log_posterior).sum(dim=1).mean()
    aggregate = log_posterior.exp().mean(dim=(0, 2, 3))  # [vocab_size]
    # A code that no picture uses any more has a share of exactly 0, where the slope of x ln x is infinite.
    aggregate_entropy = -(aggregate * aggregate.clamp(min=LEAST_SHARE).log()).sum()
    return aggregate_entropy - entropy, math.log(logits.shape[1]) - aggregate_entropy


def annealed(start: float, end: float, progress: float, until: float) -> float:
    """From `start` to `end`, reached when the share `until` of the updates is done; geometric where neither is 0."""
    share = min(1.0, progress / until)
    if start > 0 and end > 0:
        return math.exp(math.log(start) + share * (math.log(end) - math.log(start)))
    return start + share * (end - start)
