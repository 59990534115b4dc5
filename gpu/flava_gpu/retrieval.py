"""Recall at k between pictures and concept names, as training watches it on the dev splits."""

from __future__ import annotations

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from transformers import FlavaForPreTraining

from flava_gpu.batching import encode_texts, to_device
from flava_gpu.evaluation.metrics import best_ranks, recall_at
from flava_gpu.evaluation.retrieval import CUTOFFS
from flava_gpu.objectives import image_embedding, image_states, text_embedding, text_states
from flava_gpu.pairs import Pairs
from flava_gpu.preprocess import to_pixel_values


def recalls(similarity: Tensor, target: Tensor) -> dict[str, float]:
    """Recall in percent: `similarity` f32 [queries, candidates], `target` int64 [queries]; ties count against the query."""
    relevant = torch.nn.functional.one_hot(target, similarity.shape[1]).bool()
    ranks = best_ranks(similarity.double().numpy(), relevant.numpy())
    return {f"r{k}": 100 * recall_at(ranks, k) for k in CUTOFFS}


@torch.no_grad()
def embed_names(model: FlavaForPreTraining, tokenizer: Tokenizer, names: list[str], max_length: int) -> Tensor:
    """Text embeddings f32 [names, projection_dim]."""
    parts = []
    for start in range(0, len(names), 256):
        batch = to_device(encode_texts(tokenizer, names[start : start + 256], max_length), model.device)
        parts.append(text_embedding(model, text_states(model, batch.input_ids, batch.attention_mask)).cpu())
    return torch.cat(parts)


@torch.no_grad()
def embed_pictures(model: FlavaForPreTraining, images: Tensor, size: int) -> Tensor:
    """Image embeddings f32 [n, projection_dim] of uint8 RGBA [n, 4, side, side]."""
    parts = []
    for start in range(0, len(images), 256):
        pictures = [Image.fromarray(rgba.permute(1, 2, 0).numpy()) for rgba in images[start : start + 256]]
        pixel_values = to_pixel_values(pictures, size).to(model.device)
        parts.append(image_embedding(model, image_states(model, pixel_values)).cpu())
    return torch.cat(parts)


def evaluate_pairs(
    model: FlavaForPreTraining, tokenizer: Tokenizer, pairs: Pairs, size: int, max_length: int
) -> dict[str, float]:
    """Recalls of picture to name over the selection's names, and of each picture's name to that picture."""
    model.eval()
    concepts = sorted(pairs.names)
    position = {concept: index for index, concept in enumerate(concepts)}
    target = torch.tensor([position[concept] for concept in pairs.concepts])
    text = embed_names(model, tokenizer, [pairs.names[concept] for concept in concepts], max_length)
    image = embed_pictures(model, pairs.images, size)
    model.train()
    i2t = recalls(image @ text.T, target)
    t2i = recalls(text[target] @ image.T, torch.arange(len(image)))
    return {f"i2t_{key}": value for key, value in i2t.items()} | {f"t2i_{key}": value for key, value in t2i.items()}
