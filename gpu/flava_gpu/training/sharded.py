"""Tensors that FSDP has sharded over ranks, and those it has not, alike: gathered, placed, clipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def full(tensor: Tensor) -> Tensor:
    """All of a tensor that may be sharded; every rank must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This rank's shard, in the same storage; the tensor itself where it is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def as_placed(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor`, whole on every rank, on the device of `like` and sharded as it is."""
    tensor = tensor.to(like.device)
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whole on the main rank, nothing on the others; every rank must ask for it where some are sharded.

    One after the other, each leaving for the CPU: no device holds a second copy of the model. Where none is sharded these
    are the tensors themselves, on every rank.
    """
    if not any(isinstance(tensor, DTensor) for tensor in tensors.values()):
        return dict(tensors)
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        one = full(tensor.detach())
        if dist.get_rank() == 0:
            whole[name] = one.cpu()
    return whole


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scales gradients down to a norm of `max_norm` over all ranks' shards and returns what it was.

    torch.nn.utils.clip_grad_norm_ takes no mixture of sharded and whole gradients, and leaves a norm of shards unsummed.
    """
    found = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not any(isinstance(gradient, DTensor) for gradient in found):
        norm = nn.utils.get_total_norm(found)
    else:
        shards = [gradient.to_local() for gradient in found if isinstance(gradient, DTensor)]
        wholes = [gradient for gradient in found if not isinstance(gradient, DTensor)]
        squared = nn.utils.get_total_norm(shards) ** 2
        dist.all_reduce(squared)
        norm = (squared + nn.utils.get_total_norm(wholes) ** 2).sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # 1e-6 as in clip_grad_norm_
    for gradient in found:
        local(gradient).mul_(factor)
    return norm
