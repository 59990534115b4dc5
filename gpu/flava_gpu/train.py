"""Train the embedded model: `python -m flava_gpu.train --config gpu/configs/emoji-v0.yaml`.

Read it from top to bottom: config, data, model, optimizer, loop, evaluate, save. A killed run continues where it
stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import random
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm
from transformers import FlavaForPreTraining
from transformers.utils import logging as transformers_logging

from flava_gpu.augment import augment, normalize
from flava_gpu.batching import PairSampler, encode_texts, mask_tokens
from flava_gpu.checkpoint import export_checkpoint, load_state, save_state
from flava_gpu.fusion_metrics import evaluate_fusion
from flava_gpu.objectives import (
    contrastive_loss,
    image_embedding,
    image_states,
    mlm_loss,
    multimodal_losses,
    text_embedding,
    text_states,
)
from flava_gpu.pairs import held_out_names, load_glosses, load_pairs
from flava_gpu.retrieval import evaluate_pairs
from flava_gpu.training.config import TrainConfig, as_plain, load_config
from flava_gpu.training.curves import Curves, plot_curves, read_curves
from flava_gpu.vocabulary import load_or_train_tokenizer

log = logging.getLogger("flava_gpu.train")

FUSION_WARMUP_UPDATES = 30


def learning_rate(update: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to zero at the last joint update; the same again for the fusion updates."""
    optimization, fusion = config.optimization, config.fusion
    if update >= optimization.updates:
        step = update - optimization.updates
        warmup = min(1.0, (step + 1) / FUSION_WARMUP_UPDATES)
        return fusion.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * step / fusion.updates))
    warmup = min(1.0, (update + 1) / optimization.warmup_updates)
    progress = max(0, update - optimization.warmup_updates) / (optimization.updates - optimization.warmup_updates)
    return optimization.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * progress))


def pictures_drawn(updates: int, config: TrainConfig) -> int:
    """Pictures that the first `updates` updates have seen; fusion batches are smaller."""
    joint = min(updates, config.optimization.updates)
    return joint * config.optimization.batch_size + (updates - joint) * config.fusion.batch_size


def loss_weights(update: int, config: TrainConfig) -> dict[str, float]:
    if update >= config.optimization.updates:
        return {"mmm_text": 1.0, "itm": 1.0}
    multimodal = config.objectives.multimodal_weight
    return {"contrastive": 1.0, "mmm_text": multimodal, "itm": multimodal, "mlm": config.objectives.mlm_weight}


def build_optimizer(model: FlavaForPreTraining, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with decay on matrices only: norms, biases, the logit scale and the tokens' tables have none."""
    matrices = [p for name, p in model.named_parameters() if p.ndim >= 2 and "embeddings" not in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    groups = [
        {"params": matrices, "weight_decay": config.optimization.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=config.optimization.betas)


class Batches:
    """The inputs of each update, drawn from the seed and the update's number alone."""

    def __init__(self, config: TrainConfig, tokenizer: Tokenizer, sampler: PairSampler, glosses: list[str]) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.sampler = sampler
        self.glosses = glosses

    def seed(self, update: int, stream: str) -> int:
        digest = hashlib.sha256(f"{self.config.seed}:{update}:{stream}".encode()).digest()
        return int.from_bytes(digest[:6], "big")

    def generator(self, update: int, stream: str) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed(update, stream))

    def pairs(self, update: int, batch_size: int) -> tuple[Tensor, list[str]]:
        """pixel_values f32 [batch, 3, size, size] and captions."""
        images, captions = self.sampler.draw(batch_size, random.Random(self.seed(update, "pairs")))
        pixels = augment(
            images, self.config.model.image_size, self.config.augmentation, self.generator(update, "augment")
        )
        return normalize(pixels), captions

    def kept_patches(self, update: int, batch: int) -> Tensor | None:
        """Random patch indices int64 [batch, kept], or None when all are kept."""
        objectives, patches = self.config.objectives, self.config.model.num_patches
        if update >= objectives.full_patches_from * self.config.optimization.updates or objectives.patch_keep >= 1:
            return None
        order = torch.rand((batch, patches), generator=self.generator(update, "patches")).argsort(dim=1)
        return order[:, : round(patches * objectives.patch_keep)]

    def gloss_texts(self, update: int) -> list[str]:
        return random.Random(self.seed(update, "glosses")).sample(self.glosses, self.config.objectives.mlm_batch)


def run_update(model: FlavaForPreTraining, batches: Batches, update: int) -> dict[str, Tensor]:
    """The losses of one update by name, not yet weighted."""
    config = batches.config
    objectives = config.objectives
    if update >= config.optimization.updates:
        pixel_values, captions = batches.pairs(update, config.fusion.batch_size)
        return _multimodal(model, batches, update, pixel_values, captions, are_encoders_frozen=True)
    pixel_values, captions = batches.pairs(update, config.optimization.batch_size)
    text = encode_texts(batches.tokenizer, captions, config.model.max_text_length)
    image = image_states(model, pixel_values, batches.kept_patches(update, len(pixel_values)))
    losses = {
        "contrastive": contrastive_loss(
            model,
            image_embedding(model, image),
            text_embedding(model, text_states(model, text.input_ids, text.attention_mask)),
        )
    }
    if update % objectives.multimodal_every == 0:
        count = objectives.multimodal_batch
        losses |= _multimodal(model, batches, update, pixel_values[:count], captions[:count])
    if update % objectives.mlm_every == objectives.mlm_every // 2:
        glosses = encode_texts(batches.tokenizer, batches.gloss_texts(update), objectives.mlm_max_length)
        masked, labels = mask_tokens(
            glosses, objectives.mask_probability, config.model.vocab_size, batches.generator(update, "mlm")
        )
        losses["mlm"] = mlm_loss(model, masked, glosses.attention_mask, labels)
    return losses


def _multimodal(
    model: FlavaForPreTraining,
    batches: Batches,
    update: int,
    pixel_values: Tensor,
    captions: list[str],
    are_encoders_frozen: bool = False,
) -> dict[str, Tensor]:
    config = batches.config
    count = len(captions)
    rng = random.Random(batches.seed(update, "itm"))
    mismatched = max(2, round(count * config.objectives.itm_mismatch))
    # Captions of the first pairs move on by one place: each stands beside a picture of another concept.
    chosen = [captions[(index + 1) % mismatched] if index < mismatched else captions[index] for index in range(count)]
    itm_labels = torch.tensor([0] * mismatched + [1] * (count - mismatched))
    order = rng.sample(range(count), count)
    text = encode_texts(batches.tokenizer, [chosen[index] for index in order], config.model.max_text_length)
    masked, mlm_labels = mask_tokens(
        text, config.objectives.mask_probability, config.model.vocab_size, batches.generator(update, "mmm")
    )
    with torch.set_grad_enabled(not are_encoders_frozen):
        image = image_states(model, pixel_values[order])
        words = text_states(model, masked, text.attention_mask)
    mmm_text, itm = multimodal_losses(model, image, words, text.attention_mask, mlm_labels, itm_labels[order])
    return {"mmm_text": mmm_text, "itm": itm}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    transformers_logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where resumable states are kept")
    parser.add_argument("--fresh", action="store_true", help="forget an earlier run of the same name")
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    run = arguments.runs / config.name
    if arguments.fresh:
        shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.optimization.threads)
    torch.manual_seed(config.seed)

    # Data
    train = load_pairs(config.data, "train-style", "train", with_skin_tones=True)
    manifest = json.loads((config.data / "manifest.json").read_text(encoding="utf-8"))
    dev_style = load_pairs(config.data, "dev-style", "train")
    glosses = load_glosses(config.data, held_out_names(config.data))
    captions = [caption for concept in sorted(train.captions) for caption in train.captions[concept]]
    tokenizer = load_or_train_tokenizer(run / "tokenizer.json", [*captions, *glosses], config.model.vocab_size)
    log.info("%d pictures, %d concepts, %d glosses", len(train.images), len(train.names), len(glosses))

    # Model and optimizer
    model = FlavaForPreTraining(config.model.to_flava())
    model.train()
    optimizer = build_optimizer(model, config)
    batches = Batches(config, tokenizer, PairSampler(train, config.captions), glosses)

    # Resume
    start, elapsed = 0, 0.0
    state = load_state(run / "state.pt")
    if state is not None:
        if state["data"] != manifest["hash"] or state["config"] != as_plain(config):
            raise ValueError(f"{run}: started with other data or another configuration; use --fresh to begin again")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start, elapsed = state["update"], state["elapsed_seconds"]
        log.info("resumed at update %d", start)
    curves = Curves(run / "curves.jsonl", start)

    # Loop
    size, max_length = config.model.image_size, config.model.max_text_length
    batch_size = config.optimization.batch_size
    updates = config.optimization.updates + config.fusion.updates
    began = time.monotonic() - elapsed
    latest: dict[str, float] = {}
    progress = tqdm(range(start, updates), initial=start, total=updates, unit="update")
    for update in progress:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(update, config)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.optimization.bf16):
            losses = run_update(model, batches, update)
        optimizer.zero_grad()
        weights = loss_weights(update, config)
        torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimization.gradient_clip)
        optimizer.step()

        done = update + 1
        seconds = time.monotonic() - began
        if update == config.optimization.updates:
            latest = {}  # the encoders' losses are not measured any more
        latest |= {name: loss.item() for name, loss in losses.items()}
        if not math.isfinite(sum(latest.values())):
            raise RuntimeError(f"update {update}: loss is not finite: {latest}")
        if done % config.logging.curve_every == 0:
            rate = pictures_drawn(done, config) / seconds
            progress.set_postfix({**{k: f"{v:.2f}" for k, v in latest.items()}, "img/s": f"{rate:.0f}"}, refresh=False)
            scalars = {"lr": learning_rate(update, config), "grad_norm": norm.item(), "seconds": round(seconds, 1)}
            curves.add({"update": done, **latest, **scalars, "images_per_second": round(rate, 1)})
            stuck = math.log(batch_size) - 0.1
            if done > 3 * config.optimization.warmup_updates and latest.get("contrastive", 0.0) > stuck:
                log.warning("contrastive loss sits at ln(batch): try a longer warm-up or a lower learning rate")
        if done % config.logging.evaluate_every == 0:
            metrics = evaluate_pairs(model, tokenizer, dev_style, size, max_length)
            curves.add({"update": done, "dev_style": metrics})
            log.info("\nupdate %d dev style %s", done, _brief(metrics))
        if done % config.logging.checkpoint_every == 0 or done == updates:
            save_state(
                run / "state.pt",
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "update": done,
                    "elapsed_seconds": seconds,
                    "data": manifest["hash"],
                    "config": as_plain(config),
                },
            )

    # Evaluate and save
    seconds = time.monotonic() - began
    metrics = {
        "dev_style": evaluate_pairs(model, tokenizer, dev_style, size, max_length),
        "dev_style_fusion": evaluate_fusion(model, tokenizer, dev_style, size, max_length),
    }
    points = read_curves(run / "curves.jsonl")
    record: dict[str, Any] = {
        "data_manifest": manifest["hash"],
        "seconds": round(seconds),
        "images_per_second": round(pictures_drawn(updates, config) / seconds, 1),
        "metrics": metrics,
    }
    export_checkpoint(config.output, model, tokenizer, config, record)
    plot_curves(points, config.output / "curves.png", f"{config.name}: {pictures_drawn(updates, config):,} pictures")
    shutil.copyfile(run / "curves.jsonl", config.output / "curves.jsonl")
    for name, scores in metrics.items():
        log.info("%s %s", name, _brief(scores))
    log.info("%.0f pictures a second, %.0f minutes; saved %s", record["images_per_second"], seconds / 60, config.output)


def _brief(metrics: dict[str, float]) -> str:
    return "  ".join(f"{key} {value:.1f}" for key, value in metrics.items())


if __name__ == "__main__":
    main()
