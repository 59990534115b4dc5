"""One training module over several processes: replicated (DDP) or with its weights sharded (FSDP). With one process nothing
changes.

The module's forward pass gives the losses; ranks average their gradients. Both need every rank to run the same parts of the
model in an update: the same data set, and heads that run even where a rank has nothing to predict (token_loss.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import FlavaForPreTraining
from transformers.models.flava.modeling_flava import FlavaLayer

from flava_gpu.distributed import Ranks
from flava_gpu.training.sharded import gathered

Strategy = Literal["ddp", "fsdp"]


def parallelize(module: nn.Module, strategy: Strategy, ranks: Ranks) -> nn.Module:
    """`module` as the training loop calls it; rank 0's weights on all ranks. Build the optimizer after it: FSDP puts sharded
    parameters in the place of the module's own.

    DDP looks for parameters without a gradient in every backward pass, since each kind of batch leaves another part of the
    model out. FSDP gathers a transformer block's weights when it runs and the others' for the whole pass.
    """
    if ranks.count == 1:
        return module
    if strategy == "ddp":
        return DistributedDataParallel(module, find_unused_parameters=True, forward_sync_buffers=False)
    for parameter in module.parameters():
        dist.broadcast(parameter.detach(), 0)
    scalars = {parameter for parameter in module.parameters() if parameter.ndim == 0}
    for block in [part for part in module.modules() if isinstance(part, FlavaLayer)]:
        fully_shard(block)
    fully_shard(module, ignored_params=scalars)
    for parameter in scalars:  # FSDP shards along a first dimension: the logit scale has none
        parameter.register_post_accumulate_grad_hook(_average_gradient)
    return module


@contextmanager
def whole_weights(module: nn.Module) -> Iterator[None]:
    """Every weight gathered on every rank inside the block, to call parts of the model as if it were not sharded.

    Ranks must run the same parts: blocks gather their weights when they are called.
    """
    is_sharded = isinstance(module, FSDPModule)
    if is_sharded:
        module.unshard()
    try:
        yield
    finally:
        if is_sharded:
            module.reshard()


def whole_model(model: FlavaForPreTraining) -> FlavaForPreTraining | None:
    """The model to save: itself where it is not sharded, else a copy on the main rank's CPU and None on the others."""
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model
    state = gathered(model.state_dict())
    if not state:
        return None
    with torch.random.fork_rng():  # its random weights are replaced at once
        copy = FlavaForPreTraining(model.config)
    nn.Module.to(copy, dtype=next(model.parameters()).dtype).load_state_dict(state)
    return copy


def _average_gradient(parameter: Tensor) -> None:
    gradient = cast(Tensor, parameter.grad)
    dist.all_reduce(gradient)
    gradient /= dist.get_world_size()
