"""One training run over several processes, one a GPU, as torchrun starts them; with one process all of it does nothing.

Every rank sees the same rows in the same order and takes its own slice of each batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
WAIT = timedelta(hours=6)
"""Ranks wait for the main one while it reads the pictures of a large data set."""


class Ranks:
    """Which of how many processes this is."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This rank's part of a batch; batch sizes are multiples of the number of ranks."""
        each = len(items) // self.count
        return list(items[self.rank * each : (self.rank + 1) * each])

    def wait(self) -> None:
        """Until every rank is here."""
        self.exchange([0.0])

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main rank runs the block before the others do: it writes a file that they read."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def exchange(self, values: list[float]) -> list[list[float]]:
        """Every rank's values, in their order, on every rank: whatever ranks decide by them, they decide alike."""
        if self.count == 1:
            return [values]
        told = torch.zeros(self.count, len(values), dtype=torch.float64)
        told[self.rank] = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(told)  # what is not finite stays so, as the others add zero
        return told.tolist()

    def gather(self, tensor: Tensor) -> Tensor:
        """The ranks' tensors [batch, …] one after the other, [ranks x batch, …], with gradients to all of them."""
        return tensor if self.count == 1 else _Gather.apply(tensor)  # type: ignore[no-any-return]


class _Gather(torch.autograd.Function):
    """all_gather whose backward sums what every rank's loss asks of this rank's part.

    torch.distributed.nn has one, which is deprecated without a successor that carries gradients (PyTorch 2.13).
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def training_device() -> str:
    """This process's GPU, or the CPU where there is none."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def join_ranks(device: str) -> Ranks:
    """Joins the process group that torchrun's environment describes, if this process has not; alone without one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo", timeout=WAIT)
    return Ranks(dist.get_rank(), dist.get_world_size())


def leave_ranks(ranks: Ranks) -> None:
    if ranks.count > 1:
        dist.destroy_process_group()
