"""An exponential moving average of the trained weights, which is what gets evaluated and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from flava_gpu.training.sharded import local


class Ema:
    """`decay` nears its value from below while the average is young, so that random initial weights are soon forgotten."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = {name: parameter for name, parameter in module.named_parameters() if name in self.weights}
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            [local(average) for average in self.weights.values()],
            [local(now[name].detach()) for name in self.weights],
            weight,
        )

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """The module with the averaged weights inside the block, with its own after it."""
        parameters = {name: parameter for name, parameter in module.named_parameters() if name in self.weights}
        own = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        _copy(self.weights, parameters)
        try:
            yield
        finally:
            _copy(own, parameters)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, nn.Parameter]) -> None:
    for name, parameter in target.items():
        parameter.copy_(source[name])
