"""Text stage: the text encoder learns masked words of WordNet glosses and of the training captions.

    npm run train -- text --config gpu/configs/emoji/text.yaml

Writes the encoder and its MLM head where `init:` of the joint stage finds them, and the vocabulary that all later stages use.
"""

from __future__ import annotations

import logging
import math
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining

from flava_gpu.batching import IGNORE_INDEX, encode_texts, mask_tokens
from flava_gpu.checkpoint import export_checkpoint
from flava_gpu.length_buckets import LengthBuckets
from flava_gpu.objectives import mlm_loss
from flava_gpu.pairs import caption_texts, data_hash, held_out_names, load_glosses
from flava_gpu.sampling import stream_seed
from flava_gpu.training.command import stage_run
from flava_gpu.training.config import LoggingConfig, ModelConfig, OptimizationConfig, check_batch_size
from flava_gpu.training.identity import run_identity
from flava_gpu.training.optimizer import autocast, build_optimizer, gradient_scaler, take_step
from flava_gpu.training.record import training_record
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
    mask_probability: float
    max_length: int
    logging: LoggingConfig


def main(argv: list[str] | None = None) -> None:
    config, folder = stage_run(TextConfig, __doc__, argv)
    torch.set_num_threads(config.optimization.threads)
    torch.manual_seed(config.seed)

    # Data
    names = held_out_names(config.data)
    texts = [*load_glosses(config.data, names), *caption_texts(config.data)]
    check_batch_size(config.optimization.batch_size, len(texts), "texts")
    buckets = LengthBuckets(texts, config.optimization.batch_size)
    held_out = load_glosses(config.data, names, "held-out")
    tokenizer = load_or_train_tokenizer(folder / "tokenizer.json", texts, config.model.vocab_size)
    log.info("%d texts, %d pieces", len(texts), tokenizer.get_vocab_size())

    # Model and optimizer
    model = FlavaForPreTraining(config.model.to_flava())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED) and "pooler" not in name)
    model.train()
    optimizer = build_optimizer(model, config.optimization)
    scaler = gradient_scaler(config.optimization)
    identity = run_identity(config, data_hash(config.data))
    run = TrainingRun(folder, identity, model, optimizer, config.optimization, config.logging, scaler=scaler)

    # Loop
    for update in run.updates():
        batch = buckets.draw(random.Random(stream_seed(config.seed, "texts", update)))
        with run.reporting(update, lambda batch=batch: batch):
            loss, _ = masked_word_loss(model, tokenizer, batch, config, stream_seed(config.seed, "mask", update))
            scaler.scale(loss).backward()
            losses = run.mean_losses(update, {"mlm": loss})
            norm = take_step(optimizer, model.parameters(), update, config.optimization, scaler)
            run.finish_update(update, losses, gradient_norm=norm.item())
        if run.is_due(update, config.logging.evaluate_every):
            with run.averaged():
                run.record_metrics(update, "held_out_glosses", evaluate(model, tokenizer, held_out, config))

    # Evaluate and save
    with run.averaged():
        metrics = evaluate(model, tokenizer, held_out, config)
        record = training_record("text", run, config, config.optimization, ["mlm"], metrics)
        export_checkpoint(folder, model, tokenizer, record)
    run.plot(folder / "curves.png", f"{config.name}: masked words")
    log.info("%s %s, %.0f minutes; saved %s", config.name, metrics, run.seconds / 60, folder)


def masked_word_loss(
    model: FlavaForPreTraining, tokenizer: Tokenizer, texts: list[str], config: TextConfig, seed: int
) -> tuple[torch.Tensor, int]:
    """The mean over the masked words, and how many they are."""
    words = encode_texts(tokenizer, texts, config.max_length)
    generator = torch.Generator().manual_seed(seed)
    masked, labels = mask_tokens(words, config.mask_probability, config.model.vocab_size, generator)
    with autocast(config.optimization):
        loss = mlm_loss(model, masked, words.attention_mask, labels)
    return loss, int((labels != IGNORE_INDEX).sum())


@torch.no_grad()
def evaluate(
    model: FlavaForPreTraining, tokenizer: Tokenizer, texts: list[str], config: TextConfig
) -> dict[str, float]:
    """Loss in nats and perplexity of the masked words of held-out glosses, masked the same way each time."""
    model.eval()
    parts = [texts[start : start + 256] for start in range(0, len(texts), 256)]
    losses, counts = zip(
        *(masked_word_loss(model, tokenizer, part, config, i) for i, part in enumerate(parts)), strict=True
    )
    model.train()
    counted = torch.tensor(counts)
    loss = (torch.stack(losses) * counted).sum().item() / counted.sum().item()
    return {"mlm": round(loss, 4), "perplexity": round(math.exp(loss), 2)}


if __name__ == "__main__":
    main()
