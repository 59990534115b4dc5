"""From a job's method to what is trained: the objective, its head, and batches with the targets it learns from."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import FlavaForPreTraining

from flava_gpu.distributed import Ranks
from flava_gpu.finetune.batches import Batcher, class_targets, value_targets
from flava_gpu.finetune.contrastive import Contrastive
from flava_gpu.finetune.dataset import Dataset, Datasets
from flava_gpu.finetune.head import HeadSpec, new_head
from flava_gpu.finetune.plan import Plan
from flava_gpu.finetune.pretrain import Pretrain
from flava_gpu.finetune.protocol import TrainingJob
from flava_gpu.finetune.supervised import Supervised
from flava_gpu.sampling import stream_seed

Objective = Supervised | Contrastive | Pretrain

INNER_FACTOR = 2
"""Width of a head's inner layer over the model's: FLAVA's 1536 for 768."""


def make_spec(job: TrainingJob, datasets: Datasets, max_length: int, hidden_size: int) -> HeadSpec | None:
    """Of the head that a supervised run makes; None for the other methods."""
    if job.method != "supervised":
        return None
    inner_size = INNER_FACTOR * hidden_size
    inputs = datasets.training.inputs
    if datasets.labels is not None:
        return HeadSpec("classification", inputs, datasets.labels, hidden_size, inner_size, max_length)
    values = torch.tensor([row.value for row in datasets.training.rows], dtype=torch.float64)
    mean, scale = values.mean().item(), values.std().item()
    return HeadSpec("regression", inputs, None, hidden_size, inner_size, max_length, mean, scale)


def make_batcher(
    job: TrainingJob,
    dataset: Dataset,
    labels: list[str] | None,
    spec: HeadSpec | None,
    tokenizer: Tokenizer,
    max_length: int,
) -> Batcher:
    targets: Tensor | None = None
    if labels is not None:
        targets = class_targets(dataset, labels)
    elif spec is not None:
        targets = value_targets(dataset, spec.value_mean, spec.value_scale)
    return Batcher(dataset, targets, tokenizer, max_length, job.seed, job.device)


def make_objective(
    job: TrainingJob,
    model: FlavaForPreTraining,
    spec: HeadSpec | None,
    batcher: Batcher,
    datasets: Datasets,
    plan: Plan,
    ranks: Ranks,
) -> Objective:
    if spec is not None:
        return Supervised(model, new_head(spec, stream_seed(job.seed, "head")), spec)
    if job.method == "contrastive":
        return Contrastive(model, ranks)
    return Pretrain(model, batcher, datasets.texts, plan.batch_size, job.seed, ranks)


def evaluate(objective: Objective, validation: Batcher) -> dict[str, float]:
    """The validation set's metrics, named valid_…."""
    objective.eval()
    metrics = objective.evaluate(validation)
    objective.train()
    return {f"valid_{name}": value for name, value in metrics.items()}
