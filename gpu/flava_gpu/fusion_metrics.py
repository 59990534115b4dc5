"""How well the multimodal encoder's heads do on a dev selection: image-text matching and masked words."""

from __future__ import annotations

import random

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from transformers import FlavaForPreTraining

from flava_gpu.batching import IGNORE_INDEX, encode_texts, mask_tokens, to_device
from flava_gpu.objectives import fused_states, image_states, text_states
from flava_gpu.pairs import Pairs
from flava_gpu.preprocess import to_pixel_values
from flava_gpu.vocabulary import MASK_ID

BATCH = 128


@torch.no_grad()
def evaluate_fusion(
    model: FlavaForPreTraining, tokenizer: Tokenizer, pairs: Pairs, size: int, max_length: int
) -> dict[str, float]:
    """Percent right: ITM on each picture with its own and with another concept's name (chance 50), and the masked word
    piece of the own name (one piece masked, top 1)."""
    model.eval()
    rng = random.Random(0)
    generator = torch.Generator().manual_seed(0)
    concepts = sorted(pairs.names)
    right: dict[str, list[Tensor]] = {"itm": [], "mmm_text": []}
    for start in range(0, len(pairs.images), BATCH):
        images = pairs.images[start : start + BATCH]
        own = pairs.concepts[start : start + BATCH]
        others = [rng.choice([concept for concept in concepts if concept != mine]) for mine in own]
        pictures = [Image.fromarray(rgba.permute(1, 2, 0).numpy()) for rgba in images]
        image = image_states(model, to_pixel_values(pictures, size).to(model.device))
        for named, label in ((own, 1), (others, 0)):
            text = to_device(
                encode_texts(tokenizer, [pairs.names[concept] for concept in named], max_length), model.device
            )
            words = text_states(model, text.input_ids, text.attention_mask)
            logits = model.itm_head(fused_states(model, image, words, text.attention_mask))
            right["itm"].append(logits.argmax(dim=1).cpu() == label)
        text = encode_texts(tokenizer, [pairs.names[concept] for concept in own], max_length)
        _, labels = mask_tokens(text, 0.0, tokenizer.get_vocab_size(), generator)
        masked = torch.where(labels != IGNORE_INDEX, MASK_ID, text.input_ids)
        attention_mask = text.attention_mask.to(model.device)
        words = text_states(model, masked.to(model.device), attention_mask)
        states = fused_states(model, image, words, attention_mask)[:, -words.shape[1] :]
        chosen = labels != IGNORE_INDEX
        found = model.mmm_text_head(states[chosen.to(model.device)]).argmax(dim=1)
        right["mmm_text"].append(found.cpu() == labels[chosen])
    model.train()
    return {f"{name}_accuracy": 100 * torch.cat(parts).float().mean().item() for name, parts in right.items()}
