"""Codebook stage: a discrete VAE learns the visual tokens that masked image modeling predicts.

    npm run train -- codebook --config gpu/configs/emoji/codebook.yaml

Writes its encoder as a Hugging Face folder of FlavaImageCodebook, the decoder beside it for looking at tokens, and pictures of
reconstructions and of code usage.
"""

from __future__ import annotations

import json
import logging
import math
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from flava_gpu.augment import augment
from flava_gpu.codebook.dvae import CodebookConfig, DiscreteVae, spread_codes
from flava_gpu.codebook.folder import save_codebook
from flava_gpu.codebook.losses import (
    Reconstruction,
    annealed,
    decoded_pixels,
    output_channels,
    prior_terms,
    reconstruction_loss,
)
from flava_gpu.codebook.pictures import contact_sheet, usage_histogram
from flava_gpu.codebook.pixels import codebook_pixels
from flava_gpu.codebook.tokens import MARGIN, PIXELS_PER_TOKEN, map_pixels
from flava_gpu.codebook.usage import Usage
from flava_gpu.pairs import Pairs, data_hash, load_pairs, load_training_pairs
from flava_gpu.sampling import stream_seed
from flava_gpu.trained_heads import RECORD_FILE
from flava_gpu.training.command import stage_run
from flava_gpu.training.config import AugmentationConfig, LoggingConfig, OptimizationConfig, check_batch_size
from flava_gpu.training.identity import run_identity
from flava_gpu.training.optimizer import autocast, build_optimizer, gradient_scaler, take_step
from flava_gpu.training.record import training_record
from flava_gpu.training.run import TrainingRun

log = logging.getLogger("flava_gpu.stages.codebook")

WATCHED = 512
"""Pictures of each set that are evaluated."""
SHOWN = 16
"""Of those, how many are drawn."""


@dataclass(frozen=True)
class AnnealedConfig:
    """`until`: share of the updates after which `end` is reached."""

    start: float
    end: float
    until: float

    def at(self, progress: float) -> float:
        return annealed(self.start, self.end, progress, self.until)


@dataclass(frozen=True)
class PriorConfig:
    """Weights of the two parts of the KL term, as DALL-E's beta: of nats a token, against the loss of all its pixels."""

    information: AnnealedConfig
    usage: float


@dataclass(frozen=True)
class CodebookStageConfig:
    name: str
    seed: int
    data: Path
    image_size: int
    """Codebook pixels a side: 8 times the image encoder's patches a side."""
    codebook: CodebookConfig
    reconstruction: Reconstruction
    temperature: AnnealedConfig
    prior: PriorConfig
    optimization: OptimizationConfig
    plain: float
    """Share of a batch's pictures that are resized alone; the others are augmented."""
    augmentation: AugmentationConfig
    logging: LoggingConfig


def main(argv: list[str] | None = None) -> None:
    config, folder = stage_run(CodebookStageConfig, __doc__, argv)
    torch.set_num_threads(config.optimization.threads)
    torch.manual_seed(config.seed)

    # Data
    hash_of_data = data_hash(config.data)  # first: it is what a half-made data set lacks
    pairs = load_training_pairs(config.data)
    check_batch_size(config.optimization.batch_size, len(pairs.images), "pictures")
    watched = {
        "dev_style": watched_pixels(load_pairs(config.data, "dev-style", "train"), config),
        "training": watched_pixels(pairs, config),
    }
    log.info("%d pictures", len(pairs.images))

    # Model and optimizer
    vae = DiscreteVae(config.codebook, output_channels(config.reconstruction))
    spread_codes(vae.encoder, watched["training"])
    vae.train()
    optimizer = build_optimizer(vae, config.optimization)
    scaler = gradient_scaler(config.optimization)
    identity = run_identity(config, hash_of_data)
    run = TrainingRun(folder, identity, vae, optimizer, config.optimization, config.logging, scaler=scaler)

    # Loop
    for update in run.updates():
        rows = drawn_rows(update, len(pairs.images), config)
        with run.reporting(update, lambda rows=rows: [pairs.concepts[row] for row in rows]):
            pixels = drawn_pixels(pairs.images[rows], update, config)
            losses = vae_losses(vae, pixels, update, config)
            scaler.scale(losses.pop("total")).backward()
            means = run.mean_losses(update, losses)
            norm = take_step(optimizer, vae.parameters(), update, config.optimization, scaler)
            temperature = config.temperature.at(update / config.optimization.updates)
            run.finish_update(update, means, gradient_norm=norm.item(), temperature=temperature)
        if run.is_due(update, config.logging.evaluate_every):
            with run.averaged():
                for name, metrics in evaluate(vae, watched, config).items():
                    run.record_metrics(update, name, metrics)

    # Evaluate and save
    with run.averaged():
        metrics = evaluate(vae, watched, config)
        save_codebook(folder, vae.encoder)
        save_file(
            {name: tensor.contiguous() for name, tensor in vae.decoder.state_dict().items()},
            folder / "decoder.safetensors",
        )
        draw(vae, watched, folder)
    record = training_record("codebook", run, config, config.optimization, [], metrics)
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    run.plot(folder / "curves.png", f"{config.name}: {run.seconds / 60:.0f} minutes")
    rate = config.optimization.updates * config.optimization.batch_size / run.seconds
    log.info("%.1f minutes, %.0f pictures a second; saved %s", run.seconds / 60, rate, folder)


def drawn_rows(update: int, count: int, config: CodebookStageConfig) -> list[int]:
    rng = random.Random(stream_seed(config.seed, update, "pictures"))
    return rng.sample(range(count), config.optimization.batch_size)


def drawn_pixels(images: Tensor, update: int, config: CodebookStageConfig) -> Tensor:
    """f32 [batch, 3, size, size], mapped to [0.1, 0.9]."""
    plain = round(len(images) * config.plain)
    generator = torch.Generator().manual_seed(stream_seed(config.seed, update, "augment"))
    changed = augment(images[plain:], config.image_size, config.augmentation, generator)
    return map_pixels(torch.cat([codebook_pixels(images[:plain], config.image_size), changed]))


def vae_losses(vae: DiscreteVae, pixels: Tensor, update: int, config: CodebookStageConfig) -> dict[str, Tensor]:
    """`total` and its parts before their weights."""
    progress = update / config.optimization.updates
    generator = torch.Generator().manual_seed(stream_seed(config.seed, update, "gumbel"))
    with autocast(config.optimization):
        maps, logits = vae(pixels, config.temperature.at(progress), generator)
    reconstruction = reconstruction_loss(maps, pixels, config.reconstruction)
    information, usage = prior_terms(logits)
    # DALL-E's normalization: everything is divided by the values of a picture, 192 of which share a token.
    values_per_token = 3 * PIXELS_PER_TOKEN**2
    prior = (config.prior.information.at(progress) * information + config.prior.usage * usage) / values_per_token
    return {
        "total": reconstruction + prior,
        "reconstruction": reconstruction,
        "information": information,
        "usage_kl": usage,
    }


def watched_pixels(pairs: Pairs, config: CodebookStageConfig) -> Tensor:
    """The same few plain pictures each time, mapped."""
    count = min(WATCHED, len(pairs.images))
    rows = random.Random(stream_seed(config.seed, "watched")).sample(range(len(pairs.images)), count)
    return map_pixels(codebook_pixels(pairs.images[rows], config.image_size))


def evaluate(vae: DiscreteVae, watched: dict[str, Tensor], config: CodebookStageConfig) -> dict[str, dict[str, float]]:
    """Of reconstructions from the tokens alone: errors in units of the pictures' own range, and the use of the codes."""
    results: dict[str, dict[str, float]] = {}
    for name, pixels in watched.items():
        decoded, tokens = reconstructed(vae, pixels)
        error = (decoded - pixels) / (1 - 2 * MARGIN)
        usage = Usage.of(tokens, config.codebook.vocab_size)
        usage.warn_if_collapsed(name)
        results[name] = {
            "l1": error.abs().mean().item(),
            "psnr": -10 * math.log10(error.square().mean().item()),
            "codes_used": 100 * usage.used,
            "perplexity": usage.perplexity,
            "most_frequent": 100 * usage.most_frequent,
        }
    return results


@torch.no_grad()
def reconstructed(vae: DiscreteVae, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Codebook pixels f32 [n, 3, h, w] from the tokens alone, and the tokens int64 [n, h / 8, w / 8]."""
    vae.eval()
    parts = [vae.reconstruct(part) for part in pixels.split(64)]
    vae.train()
    return torch.cat([decoded_pixels(maps) for maps, _ in parts]), torch.cat([tokens for _, tokens in parts])


def draw(vae: DiscreteVae, watched: dict[str, Tensor], folder: Path) -> None:
    """reconstructions.png: of each set, originals over what their tokens decode to; usage.png."""
    rows: list[Tensor] = []
    usages: dict[str, Usage] = {}
    for name, pixels in watched.items():
        decoded, tokens = reconstructed(vae, pixels)
        rows += [(part[:SHOWN] - MARGIN) / (1 - 2 * MARGIN) for part in (pixels, decoded)]
        usages[name.replace("_", " ")] = Usage.of(tokens, vae.encoder.vocab_size)
    contact_sheet(rows, folder / "reconstructions.png")
    usage_histogram(usages, folder / "usage.png")


if __name__ == "__main__":
    main()
