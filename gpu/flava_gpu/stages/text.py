"""Text stage: the text encoder learns masked words of WordNet glosses and of the training captions.

    npm run train -- text --config gpu/configs/emoji/text.yaml

Writes the encoder and its MLM head where `init:` of the joint stage finds them, and the vocabulary that all later stages use.
"""

from __future__ import annotations

import json
import logging
import math
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining

from flava_gpu.batching import encode_texts, mask_tokens
from flava_gpu.checkpoint import export_checkpoint
from flava_gpu.objectives import mlm_loss
from flava_gpu.pairs import caption_texts, held_out_names, load_glosses
from flava_gpu.sampling import stream_seed
from flava_gpu.training.command import stage_run
from flava_gpu.training.config import LoggingConfig, ModelConfig, OptimizationConfig, as_plain
from flava_gpu.training.optimizer import autocast, build_optimizer, take_step
from flava_gpu.training.run import TrainingRun
from flava_gpu.vocabulary import load_or_train_tokenizer

log = logging.getLogger("flava_gpu.stages.text")

TRAINED = ("flava.text_model.", "mlm_head.")


@dataclass(frozen=True)
class TextConfig:
    name: str
    seed: int
    data: Path
    model: ModelConfig
    optimization: OptimizationConfig
    captions_share: float
    """Share of a batch that is captions; the others are glosses."""
    mask_probability: float
    max_length: int
    held_out_glosses: int
    """Glosses that are left out of training, for the evaluation."""
    logging: LoggingConfig


def main() -> None:
    config, folder = stage_run(TextConfig, __doc__)
    torch.set_num_threads(config.optimization.threads)
    torch.manual_seed(config.seed)

    # Data
    glosses = load_glosses(config.data, held_out_names(config.data))
    captions = caption_texts(config.data)
    random.Random(config.seed).shuffle(glosses)
    held_out, glosses = glosses[: config.held_out_glosses], glosses[config.held_out_glosses :]
    manifest = json.loads((config.data / "manifest.json").read_text(encoding="utf-8"))
    tokenizer = load_or_train_tokenizer(folder / "tokenizer.json", [*captions, *glosses], config.model.vocab_size)
    log.info("%d glosses, %d captions, %d pieces", len(glosses), len(captions), tokenizer.get_vocab_size())

    # Model and optimizer
    model = FlavaForPreTraining(config.model.to_flava())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED) and "pooler" not in name)
    model.train()
    optimizer = build_optimizer(model, config.optimization)
    identity = {"config": as_plain(config), "data": manifest["hash"]}
    run = TrainingRun(folder, identity, model, optimizer, config.optimization, config.logging)

    # Loop
    of_captions = round(config.optimization.batch_size * config.captions_share)
    for update in run.updates():
        rng = random.Random(stream_seed(config.seed, "texts", update))
        texts = [
            *rng.sample(glosses, config.optimization.batch_size - of_captions),
            *rng.sample(captions, of_captions),
        ]
        with run.reporting(update, lambda texts=texts: texts):
            loss = masked_word_loss(model, tokenizer, texts, config, stream_seed(config.seed, "mask", update))
            loss.backward()
            norm = take_step(optimizer, model.parameters(), update, config.optimization)
            run.record(update, {"mlm": loss}, gradient_norm=norm.item())
        if run.is_due(update, config.logging.evaluate_every):
            with run.averaged():
                run.record_metrics(update, "held_out_glosses", evaluate(model, tokenizer, held_out, config))

    # Evaluate and save
    with run.averaged():
        metrics = evaluate(model, tokenizer, held_out, config)
        export_checkpoint(folder, model, tokenizer, {**identity, "seconds": round(run.seconds), "metrics": metrics})
    run.plot(folder / "curves.png", f"{config.name}: masked words")
    log.info("%s %s, %.0f minutes; saved %s", config.name, metrics, run.seconds / 60, folder)


def masked_word_loss(
    model: FlavaForPreTraining, tokenizer: Tokenizer, texts: list[str], config: TextConfig, seed: int
) -> torch.Tensor:
    words = encode_texts(tokenizer, texts, config.max_length)
    generator = torch.Generator().manual_seed(seed)
    masked, labels = mask_tokens(words, config.mask_probability, config.model.vocab_size, generator)
    with autocast(config.optimization):
        return mlm_loss(model, masked, words.attention_mask, labels)


@torch.no_grad()
def evaluate(
    model: FlavaForPreTraining, tokenizer: Tokenizer, texts: list[str], config: TextConfig
) -> dict[str, float]:
    """Loss in nats and perplexity of the masked words of held-out glosses, masked the same way each time."""
    model.eval()
    parts = [texts[start : start + 256] for start in range(0, len(texts), 256)]
    total = sum(masked_word_loss(model, tokenizer, part, config, i).item() * len(part) for i, part in enumerate(parts))
    model.train()
    loss = total / len(texts)
    return {"mlm": round(loss, 4), "perplexity": round(math.exp(loss), 2)}


if __name__ == "__main__":
    main()
