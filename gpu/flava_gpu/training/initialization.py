"""`init:` of a configuration: part of a checkpoint as the starting point, part of the model left untrained."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from flava_gpu.training.config import ConfigError, InitConfig

log = logging.getLogger("flava_gpu.training")


@dataclass(frozen=True)
class Loaded:
    """Names by what became of them."""

    source: Path
    loaded: tuple[str, ...]
    left_out: tuple[str, ...]
    """In the checkpoint and not asked for, or not in this model."""

    @property
    def modules(self) -> dict[str, int]:
        """Tensors loaded, by module: its first two names, as flava.text_model."""
        return dict(sorted(Counter(".".join(name.split(".")[:2]) for name in self.loaded).items()))


def initialize(model: nn.Module, configs: tuple[InitConfig, ...]) -> list[Loaded]:
    """Copies tensors into `model` in the order of `configs`, then freezes; logs what was loaded.

    Raises ConfigError when a checkpoint is missing, a prefix of `include` or `freeze` names nothing, or a shape differs.
    """
    results = [_load(model, config) for config in configs]
    for config in configs:
        _freeze(model, config.freeze)
    for result in results:
        log.info("%s: %d tensors loaded, %d left out", result.source, len(result.loaded), len(result.left_out))
        for module, count in result.modules.items():
            log.info("  %s: %d", module, count)
    return results


@torch.no_grad()
def _load(model: nn.Module, config: InitConfig) -> Loaded:
    file = config.source / "model.safetensors"
    if not file.is_file():
        raise ConfigError(f"init.from: {config.source} has no model.safetensors; train that stage first")
    tensors = load_file(file)
    own = model.state_dict()
    chosen = [
        name
        for name in sorted(tensors)
        if name in own and name.startswith(config.include) and not (config.exclude and name.startswith(config.exclude))
    ]
    for prefix in config.include:
        if not any(name.startswith(prefix) for name in chosen):
            raise ConfigError(f"init.include: {config.source}: no tensor of this model begins with {prefix!r}")
    for name in chosen:
        if own[name].shape != tensors[name].shape:
            raise ConfigError(f"init: {name}: expected {list(own[name].shape)}, got {list(tensors[name].shape)}")
        own[name].copy_(tensors[name])
    return Loaded(config.source, tuple(chosen), tuple(sorted(set(tensors) - set(chosen))))


def _freeze(model: nn.Module, prefixes: tuple[str, ...]) -> None:
    for prefix in prefixes:
        named = [parameter for name, parameter in model.named_parameters() if name.startswith(prefix)]
        if not named:
            raise ConfigError(f"init.freeze: no parameter begins with {prefix!r}")
        for parameter in named:
            parameter.requires_grad_(False)
