"""AdamW, its schedule and one update: what the paper trains with (arXiv 2112.04482, supplement B)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from flava_gpu.training.config import OptimizationConfig
from flava_gpu.training.errors import TrainingError
from flava_gpu.training.sharded import clip_gradients

TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings", "cls_token", "mask_token")
"""Parameters of two and more dimensions that are no matrices."""


def build_optimizer(module: nn.Module, config: OptimizationConfig) -> torch.optim.AdamW:
    """AdamW on what is trained, with decay on matrices only: norms, biases, the logit scale and tables of embeddings have none."""
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    groups = [
        {"params": [p for name, p in trained.items() if is_matrix(name, p)], "weight_decay": config.weight_decay},
        {"params": [p for name, p in trained.items() if not is_matrix(name, p)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, betas=config.betas)


def is_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and not any(part in name for part in TABLES)


def learning_rate(update: int, config: OptimizationConfig) -> float:
    """Of update `update`, from 0: linear warm-up, then a cosine that would reach zero after the last one."""
    warmup = min(1.0, (update + 1) / max(1, config.warmup_updates))
    progress = max(0, update - config.warmup_updates) / max(1, config.updates - config.warmup_updates)
    return config.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def autocast(config: OptimizationConfig, device: str = "cpu") -> torch.autocast:
    """Half precision for products; PyTorch keeps norms, softmax and losses in f32."""
    dtype = torch.float16 if config.precision == "fp16" else torch.bfloat16
    return torch.autocast(device.partition(":")[0], dtype, enabled=config.precision != "f32")


def gradient_scaler(config: OptimizationConfig, device: str = "cpu") -> torch.amp.GradScaler:
    """Keeps small fp16 gradients from vanishing; for other precisions it does nothing."""
    return torch.amp.GradScaler(device.partition(":")[0], enabled=config.precision == "fp16")


def take_step(
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[nn.Parameter],
    update: int,
    config: OptimizationConfig,
    scaler: torch.amp.GradScaler,
) -> Tensor:
    """Applies the gradients that backward of scaled losses left, clipped, at the update's rate, and clears them; returns
    their norm. Raises TrainingError, weights untouched, when a gradient is not finite (fp16 leaves out such a step)."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(update, config)
    scaler.unscale_(optimizer)
    norm = clip_gradients(parameters, config.gradient_clip)
    if not scaler.is_enabled() and not norm.isfinite():
        message = f"update {update}: the gradient is not finite (norm {norm.item()}); try a lower learning rate"
        raise TrainingError("gradient_not_finite", message)
    scaler.step(optimizer)  # leaves out a step whose fp16 gradients overflowed
    scaler.update()
    optimizer.zero_grad()
    return norm


def is_stuck_at_chance(contrastive: float, batch_size: int) -> bool:
    """Whether a contrastive loss is that of guessing, ln(batch): a longer warm-up or a lower rate is due."""
    return contrastive > math.log(batch_size) - 0.1
