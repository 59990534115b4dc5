"""Supervised fine-tuning: the encoder that sees the inputs and a new head on its token 0, trained together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import FlavaForPreTraining

from flava_gpu.evaluation.metrics import accuracy, macro_f1
from flava_gpu.finetune.batches import Batch, Batcher
from flava_gpu.finetune.head import Head, HeadSpec, head_states
from flava_gpu.finetune.rows import Inputs

EVALUATION_BATCH = 64
PARTS: dict[Inputs, tuple[str, ...]] = {
    "text": ("flava.text_model.",),
    "image": ("flava.image_model.",),
    "pair": (
        "flava.text_model.",
        "flava.image_model.",
        "flava.image_to_mm_projection.",
        "flava.text_to_mm_projection.",
        "flava.multimodal_model.",
    ),
}
"""Of the model, by what the head sees."""
NOT_ON_THE_WAY = (".pooler.", ".mask_token")
"""Nothing here reads them, so they have no gradient."""


class Supervised(nn.Module):
    def __init__(self, model: FlavaForPreTraining, head: Head, spec: HeadSpec) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.spec = spec
        freeze_all_but(model, PARTS[spec.inputs])

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """`loss` with gradients, and for classification the share of the batch that was right."""
        outputs = self.head(head_states(self.model, self.spec.inputs, batch.pixel_values, batch.text))
        assert batch.targets is not None
        if self.spec.task == "regression":
            return {"loss": F.mse_loss(outputs[:, 0], batch.targets)}
        right = (outputs.argmax(dim=1) == batch.targets).float().mean()
        return {"loss": F.cross_entropy(outputs, batch.targets), "accuracy": right}

    def evaluate(self, batcher: Batcher) -> dict[str, float]:
        outputs, targets = self.outputs_of(batcher)
        if self.spec.task == "classification":
            return classification_metrics(outputs, targets)
        return regression_metrics(outputs[:, 0], targets, self.spec.value_scale)

    @torch.no_grad()
    def outputs_of(self, batcher: Batcher) -> tuple[Tensor, Tensor]:
        """The head's outputs f32 [rows, outputs] and the targets [rows], on the CPU."""
        parts, targets = [], []
        for batch in in_order(batcher, EVALUATION_BATCH):
            states = head_states(self.model, self.spec.inputs, batch.pixel_values, batch.text)
            parts.append(self.head(states).cpu())
            assert batch.targets is not None
            targets.append(batch.targets.cpu())
        return torch.cat(parts), torch.cat(targets)


def in_order(batcher: Batcher, size: int) -> Iterator[Batch]:
    """All rows in the file's order, of several captions always the same one."""
    for start in range(0, len(batcher.dataset), size):
        yield batcher.draw(range(start, min(start + size, len(batcher.dataset))), 0)


def freeze_all_but(model: FlavaForPreTraining, parts: tuple[str, ...]) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(parts) and not any(part in name for part in NOT_ON_THE_WAY))


def classification_metrics(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Mean cross entropy, accuracy, and F1 averaged over the classes that occur or are predicted, each counting the same."""
    true, predicted = targets.numpy(), outputs.argmax(dim=1).numpy()
    loss = F.cross_entropy(outputs, targets).item()
    return {"loss": loss, "accuracy": accuracy(true, predicted), "macro_f1": macro_f1(true, predicted)}


def regression_metrics(outputs: Tensor, targets: Tensor, scale: float) -> dict[str, float]:
    """Squared error of the standardized values (the loss) and of the rows' own, and Pearson's correlation."""
    error = F.mse_loss(outputs.double(), targets.double()).item()
    metrics = {"loss": error, "mse": error * scale * scale}
    if len(outputs) > 1:
        pearson = torch.corrcoef(torch.stack([outputs.double(), targets.double()]))[0, 1].item()
        if math.isfinite(pearson):  # not where all outputs, or all values, are the same
            metrics["pearson"] = pearson
    return metrics
