"""How well the multimodal encoder's heads do on a dev selection: evaluation's matching and masked words, in memory."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining

from flava_gpu.batching import encode_texts, to_device
from flava_gpu.evaluation.masked import Guesses, guess_words_of_captions
from flava_gpu.evaluation.matching import MATCH_CLASS, draw_others
from flava_gpu.objectives import fused_states, image_states, text_states
from flava_gpu.pairs import Pairs
from flava_gpu.preprocess import stored_pictures, to_pixel_values

BATCH = 128


@torch.no_grad()
def evaluate_fusion(
    model: FlavaForPreTraining, tokenizer: Tokenizer, pairs: Pairs, size: int, max_length: int
) -> dict[str, float]:
    """Percent right: ITM on each picture with its own and with another concept's name (chance 50), and the masked word
    piece of the own name (one piece masked, top 1)."""
    model.eval()
    others = draw_others(pairs.concepts, dict.fromkeys(pairs.names, ""))
    matched: list[torch.Tensor] = []
    guesses: list[Guesses] = []
    for start in range(0, len(pairs.images), BATCH):
        rows = slice(start, start + BATCH)
        pixel_values = to_pixel_values(stored_pictures(pairs.images[rows]), size)
        image = image_states(model, pixel_values.to(model.device))
        own = [pairs.names[concept] for concept in pairs.concepts[rows]]
        wrong = [pairs.names[concept] for concept in others[rows] if concept is not None]
        for names, label in ((own, MATCH_CLASS), (wrong, 1 - MATCH_CLASS)):
            text = to_device(encode_texts(tokenizer, names, max_length), model.device)
            words = text_states(model, text.input_ids, text.attention_mask)
            logits = model.itm_head(fused_states(model, image, words, text.attention_mask))
            matched.append(logits.argmax(dim=1).cpu() == label)
        guesses.append(guess_words_of_captions(model, tokenizer, image, own, max_length, start))
    model.train()
    return {
        "itm_accuracy": 100 * torch.cat(matched).float().mean().item(),
        "mmm_text_accuracy": 100 * float(Guesses.joined(guesses).hits.mean()),
    }
