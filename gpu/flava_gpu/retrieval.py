"""Recall at k between pictures and concept names, as training watches it on the dev splits: evaluation's ranking, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining

from flava_gpu.batching import encode_texts, to_device
from flava_gpu.evaluation.metrics import recall_at
from flava_gpu.evaluation.retrieval import CUTOFFS, DIRECTIONS, Gallery, join, rank_gallery
from flava_gpu.objectives import image_embedding, image_states, text_embedding, text_states
from flava_gpu.pairs import Pairs
from flava_gpu.preprocess import stored_pictures, to_pixel_values

BATCH = 256


@torch.no_grad()
def embed_names(
    model: FlavaForPreTraining, tokenizer: Tokenizer, names: list[str], max_length: int
) -> NDArray[np.float32]:
    """Text embeddings f32 [names, projection_dim]."""
    parts = []
    for start in range(0, len(names), BATCH):
        batch = to_device(encode_texts(tokenizer, names[start : start + BATCH], max_length), model.device)
        parts.append(text_embedding(model, text_states(model, batch.input_ids, batch.attention_mask)).cpu())
    return torch.cat(parts).numpy()


@torch.no_grad()
def embed_pictures(model: FlavaForPreTraining, pairs: Pairs, size: int) -> NDArray[np.float32]:
    """Image embeddings f32 [pictures, projection_dim]."""
    parts = []
    for images in pairs.images.split(BATCH):
        pixel_values = to_pixel_values(stored_pictures(images), size).to(model.device)
        parts.append(image_embedding(model, image_states(model, pixel_values)).cpu())
    return torch.cat(parts).numpy()


def evaluate_pairs(
    model: FlavaForPreTraining, tokenizer: Tokenizer, pairs: Pairs, size: int, max_length: int
) -> dict[str, float]:
    """Recalls in percent, of picture to name over the selection's names and of name to picture among those of one style."""
    model.eval()
    text = embed_names(model, tokenizer, list(pairs.names.values()), max_length)
    image = embed_pictures(model, pairs, size)
    model.train()
    recalls: dict[str, float] = {}
    for direction in DIRECTIONS:
        ranked = join([rank_gallery(gallery, image[rows], text, direction) for rows, gallery in galleries(pairs)])
        recalls |= {f"{direction}_r{k}": 100 * recall_at(ranked.ranks, k) for k in CUTOFFS}
    return recalls


def galleries(pairs: Pairs) -> list[tuple[NDArray[np.int64], Gallery]]:
    """One a style, with its rows of `pairs`: a concept's drawings in other styles are no wrong answers to its name."""
    names = list(pairs.names.values())
    position = {concept: index for index, concept in enumerate(pairs.names)}
    found = []
    for style in dict.fromkeys(pairs.styles):
        rows = np.flatnonzero(np.array(pairs.styles) == style)
        concepts = [pairs.concepts[row] for row in rows]
        own = np.array([position[concept] for concept in concepts])
        shown = [Path(style, concept) for concept in concepts]
        captions = [[index] for index in own.tolist()]
        found.append((rows, Gallery(shown, names, captions, np.arange(len(rows)), own, concepts)))
    return found
