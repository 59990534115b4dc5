"""Contrastive fine-tuning: both encoders with their projections, by FLAVA's global contrastive loss on pairs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from transformers import FlavaForPreTraining

from flava_gpu.distributed import Ranks
from flava_gpu.evaluation.metrics import best_ranks, recall_at
from flava_gpu.finetune.batches import Batch, Batcher
from flava_gpu.finetune.dataset import Dataset
from flava_gpu.finetune.supervised import EVALUATION_BATCH, freeze_all_but, in_order
from flava_gpu.objectives import (
    contrastive_loss,
    global_contrastive_loss,
    image_embedding,
    image_states,
    text_embedding,
    text_states,
)

PARTS = (
    "flava.text_model.",
    "flava.image_model.",
    "flava.text_projection.",
    "flava.image_projection.",
    "flava.logit_scale",
)
CUTOFFS = (1, 5)
RANKED_ROWS = 1024
"""Queries whose candidates are ranked at once: in f64, of 10,000 each, 80 MB."""
MAX_EVALUATED = 10_000
"""Validation pairs that are searched; the matrix of all against all grows with the square."""


class Contrastive(nn.Module):
    def __init__(self, model: FlavaForPreTraining, ranks: Ranks) -> None:
        super().__init__()
        self.model = model
        self.ranks = ranks
        freeze_all_but(model, PARTS)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        image, text = embed(self.model, batch)
        return {"loss": global_contrastive_loss(self.model, image, text, self.ranks)}

    def evaluate(self, batcher: Batcher) -> dict[str, float]:
        return retrieval_metrics(self.model, batcher)


def embed(model: FlavaForPreTraining, batch: Batch) -> tuple[Tensor, Tensor]:
    """Image and text embeddings, f32 [batch, projection_dim] each, of length 1."""
    assert batch.pixel_values is not None
    assert batch.text is not None
    image = image_embedding(model, image_states(model, batch.pixel_values))
    return image, text_embedding(model, text_states(model, batch.text.input_ids, batch.text.attention_mask))


@torch.no_grad()
def retrieval_metrics(model: FlavaForPreTraining, batcher: Batcher) -> dict[str, float]:
    """Recall at 1 and 5, as shares, of picture to text and of text to picture among the data set's own.

    A text finds its picture when it finds any picture it was written for; a picture any of its texts. `loss` is the
    contrastive loss of batches of EVALUATION_BATCH pairs in the file's order.
    """
    dataset = batcher.dataset
    count = min(len(dataset), MAX_EVALUATED)
    picture_of_row, pictures = numbered([dataset.picture_hashes[row] for row in range(count)])
    texts = [text for row in dataset.rows[:count] for text in row.texts]
    number_of_text = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    belongs = torch.zeros(pictures, len(number_of_text), dtype=torch.bool)
    for row in range(count):
        for text in dataset.rows[row].texts:
            belongs[picture_of_row[row], number_of_text[text]] = True

    image_by_picture = torch.zeros(pictures, model.config.projection_dim)
    losses: list[Tensor] = []
    start = 0
    for batch in in_order(batcher, EVALUATION_BATCH):
        image, text = embed(model, batch)
        losses.append(contrastive_loss(model, image, text).cpu() * len(image))
        rows = range(start, min(start + len(image), count))
        for row, vector in zip(rows, image.cpu(), strict=False):
            image_by_picture[picture_of_row[row]] = vector
        start += len(image)
    unique = list(number_of_text)
    parts = []
    for first in range(0, len(unique), EVALUATION_BATCH):
        encoded = batcher.encode(unique[first : first + EVALUATION_BATCH])
        parts.append(text_embedding(model, text_states(model, encoded.input_ids, encoded.attention_mask)).cpu())
    similarity = image_by_picture @ torch.cat(parts).T  # [pictures, texts]
    metrics = {"loss": (torch.stack(losses).sum() / len(dataset)).item()}
    for direction, scores, right in (("i2t", similarity, belongs), ("t2i", similarity.T, belongs.T)):
        parts = zip(scores.split(RANKED_ROWS), right.split(RANKED_ROWS), strict=True)
        ranks = np.concatenate([best_ranks(some.double().numpy(), flags.numpy()) for some, flags in parts])
        metrics |= {f"{direction}_r{k}": recall_at(ranks, k) for k in CUTOFFS}
    return metrics


def numbered(keys: list[bytes]) -> tuple[list[int], int]:
    """Each key's number by first occurrence, and how many there are."""
    numbers: dict[bytes, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys], len(numbers)


def pair_keys(dataset: Dataset) -> list[frozenset[object]]:
    """What must not repeat within a batch: the picture and its texts."""
    return [frozenset([dataset.picture_hashes[position], *row.texts]) for position, row in enumerate(dataset.rows)]
