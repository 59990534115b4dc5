"""The mean loss of masked tokens where each process masks another number of them.

Knows nothing of models or heads: logits in, a loss out. MIM, MLM and both halves of MMM end here.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from flava_gpu.batching import IGNORE_INDEX
from flava_gpu.distributed import Ranks


def token_cross_entropy(logits: Tensor, labels: Tensor, ranks: Ranks | None = None) -> Tensor:
    """Cross entropy over the tokens of all ranks, scaled so that the mean of the ranks' values is the whole batch's.

    `logits` [tokens, vocab_size], `labels` int64 [tokens], IGNORE_INDEX where nothing is predicted. DDP and FSDP average
    gradients over ranks; a mean over a rank's own tokens would weigh a token more the fewer its rank has. Hence this rank's
    sum, times the ranks, over the tokens of all.

    Without a token anywhere the loss is 0, where transformers' is NaN. It stays a function of `logits`: hand over the head's
    output of zero rows rather than skip the head, or the ranks' backward passes have different collectives and hang.
    """
    total = F.cross_entropy(at_least_f32(logits), labels, ignore_index=IGNORE_INDEX, reduction="sum")
    count = (labels != IGNORE_INDEX).sum()
    if ranks is None or ranks.count == 1:
        return total / count.clamp(min=1)
    dist.all_reduce(count)
    return total * (ranks.count / count.clamp(min=1))


def at_least_f32(tensor: Tensor) -> Tensor:
    """Half precision widened before sums and softmaxes; f64 stays, so that tests can be exact."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
