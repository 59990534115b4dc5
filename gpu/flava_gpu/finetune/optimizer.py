"""AdamW with its groups and its schedule, and the check that a step may be taken at all."""

from __future__ import annotations

import math

import torch
from torch import nn

from flava_gpu.finetune.dataset import Dataset
from flava_gpu.finetune.plan import BETAS, WEIGHT_DECAY, Plan
from flava_gpu.training.errors import TrainingError
from flava_gpu.training.optimizer import is_matrix

MAX_LINES_NAMED = 32


def build_optimizer(trained: dict[str, nn.Parameter], plan: Plan) -> torch.optim.AdamW:
    """New heads learn at their own rate; decay is on matrices only, not on norms, biases, the logit scale and tables."""
    groups = []
    for is_head in (False, True):
        for has_decay in (False, True):
            parameters = [
                parameter
                for name, parameter in trained.items()
                if name.startswith("head.") == is_head and is_matrix(name, parameter) == has_decay
            ]
            if parameters:
                decay = WEIGHT_DECAY if has_decay else 0.0
                groups.append({"params": parameters, "weight_decay": decay, "is_head": is_head})
    return torch.optim.AdamW(groups, lr=0.0, betas=BETAS)


def set_rates(optimizer: torch.optim.Optimizer, plan: Plan, step: int) -> float:
    """For the update after `step` updates; returns the encoders' rate."""
    share = plan.rate_share(step)
    for group in optimizer.param_groups:
        group["lr"] = share * (plan.head_rate if group["is_head"] else plan.encoder_rate)
    return share * plan.encoder_rate


def require_finite(told: list[list[float]], step: int, rows: list[int], dataset: Dataset) -> None:
    """Raises TrainingError naming the step and the rows. `told`: loss and norm of the gradient by rank."""
    each = len(rows) // len(told)
    for rank, (loss, norm) in enumerate(told):
        if math.isfinite(loss) and math.isfinite(norm):
            continue
        lines = sorted(dataset.rows[row].line for row in rows[rank * each : (rank + 1) * each])
        named = ", ".join(map(str, lines[:MAX_LINES_NAMED])) + (", …" if len(lines) > MAX_LINES_NAMED else "")
        what = "the loss is" if not math.isfinite(loss) else "the gradients are"
        raise TrainingError(
            "loss_not_finite",
            f"step {step}: {what} not finite; the batch has lines {named} of the training file. "
            "A lower learning_rate_multiplier may help",
            param="training_file",
            line=lines[0],
        )
