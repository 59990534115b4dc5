"""Image stage: the image encoder learns from pictures alone, by masked patches (MIM) or by self-distillation (DINO).

    npm run train -- image --config gpu/configs/emoji/image.yaml         # MIM, on the codebook's tokens
    npm run train -- image --config gpu/configs/emoji/image-dino.yaml    # DINO

Writes the encoder, with the MIM head where it was trained, where `init:` of the joint stage finds it. What it has learned is
watched by a linear probe of the emoji's groups on a drawing style that training does not show.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import FlavaForPreTraining

from flava_gpu.checkpoint import export_checkpoint
from flava_gpu.image_pretraining.dino import DinoConfig, DistilledImages
from flava_gpu.image_pretraining.group_probe import Labelled, labelled, probe_groups
from flava_gpu.image_pretraining.mim import MaskedImages, MimConfig
from flava_gpu.pairs import Pairs, data_hash, load_pairs, load_training_pairs
from flava_gpu.sampling import stream_seed
from flava_gpu.training.command import stage_run
from flava_gpu.training.config import (
    ConfigError,
    LoggingConfig,
    ModelConfig,
    OptimizationConfig,
    check_batch_size,
)
from flava_gpu.training.identity import run_identity
from flava_gpu.training.optimizer import autocast, build_optimizer, gradient_scaler, take_step
from flava_gpu.training.record import training_record
from flava_gpu.training.run import TrainingRun

log = logging.getLogger("flava_gpu.stages.image")


@dataclass(frozen=True)
class ImageConfig:
    name: str
    seed: int
    data: Path
    model: ModelConfig
    optimization: OptimizationConfig
    logging: LoggingConfig
    mim: MimConfig | None = None
    dino: DinoConfig | None = None
    """One of `mim` and `dino`."""


def main(argv: list[str] | None = None) -> None:
    config, folder = stage_run(ImageConfig, __doc__, argv)
    torch.set_num_threads(config.optimization.threads)
    torch.manual_seed(config.seed)

    # Data
    hash_of_data = data_hash(config.data)
    train, dev = load_training_pairs(config.data), load_pairs(config.data, "dev-style", "train")
    check_batch_size(config.optimization.batch_size, len(train.images), "pictures")
    probed = [labelled(config.data, pairs, config.model.image_size) for pairs in (train, dev)]
    log.info("%d pictures, %d of them with a group", len(train.images), len(probed[0].groups))

    # Model and optimizer
    model = FlavaForPreTraining(config.model.to_flava())
    model.train()
    objective = build_objective(config, model, folder, train, dev)
    optimizer = build_optimizer(objective.trained, config.optimization)
    scaler = gradient_scaler(config.optimization)
    tools = [config.mim.codebook] if config.mim else []
    identity = run_identity(config, hash_of_data, tools)
    run = TrainingRun(folder, identity, objective.module, optimizer, config.optimization, config.logging, scaler=scaler)

    # Loop
    for update in run.updates():
        rng = random.Random(stream_seed(config.seed, update, "pictures"))
        rows = rng.sample(range(len(train.images)), config.optimization.batch_size)
        with run.reporting(update, lambda rows=rows: [train.concepts[row] for row in rows]):
            with autocast(config.optimization):
                losses = objective.losses(rows, update)
            scaler.scale(torch.stack(list(losses.values())).sum()).backward()
            objective.before_step(update)
            means = run.mean_losses(update, losses)
            norm = take_step(optimizer, objective.trained.parameters(), update, config.optimization, scaler)
            run.finish_update(update, means, gradient_norm=norm.item(), **objective.after_step(update))
        if run.is_due(update, config.logging.curve_every) and update > config.optimization.warmup_updates:
            objective.warn_if_collapsed()
        if run.is_due(update, config.logging.evaluate_every):
            with run.averaged():
                for name, metrics in evaluate(objective, probed).items():
                    run.record_metrics(update, name, metrics)

    # Evaluate and save
    with run.averaged():
        metrics = evaluate(objective, probed)
        model.flava.image_model.load_state_dict(objective.encoder.state_dict())
        heads = ["mim"] if config.mim else []
        record = training_record("image", run, config, config.optimization, heads, metrics, tools=tools)
        export_checkpoint(folder, model, None, record)
    run.plot(folder / "curves.png", f"{config.name}: {run.seconds / 60:.0f} minutes")
    rate = config.optimization.updates * config.optimization.batch_size / run.seconds
    log.info("%.1f minutes, %.0f pictures a second; saved %s", run.seconds / 60, rate, folder)


def build_objective(
    config: ImageConfig, model: FlavaForPreTraining, folder: Path, train: Pairs, dev: Pairs
) -> MaskedImages | DistilledImages:
    if (config.mim is None) == (config.dino is None):
        raise ConfigError(f"{config.name}: expected one of the keys mim and dino")
    if config.mim is not None:
        return MaskedImages(config.mim, config.model, config.seed, model, folder, train, dev)
    assert config.dino is not None
    if config.optimization.ema_decay:
        raise ConfigError(f"{config.name}: optimization.ema_decay must be 0: DINO's teacher is the average already")
    updates = config.optimization.updates
    return DistilledImages(config.dino, config.model, config.seed, updates, model, train.images)


def evaluate(objective: MaskedImages | DistilledImages, probed: list[Labelled]) -> dict[str, dict[str, float]]:
    objective.encoder.eval()
    metrics = {"dev_style_probe": probe_groups(objective.encoder, probed[0], probed[1]), **objective.evaluate()}
    objective.encoder.train()
    return metrics


if __name__ == "__main__":
    main()
