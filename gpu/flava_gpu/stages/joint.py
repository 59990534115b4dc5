"""Joint stage: FLAVA's whole training, each update on a batch of one data set.

    npm run train -- joint --config gpu/configs/emoji/joint.yaml

Pairs give the contrastive loss, matching (ITM) and masked words and patches with the other side in view (MMM); pictures alone
masked patches (MIM), texts alone masked words (MLM). `init:` brings the unimodal stages' encoders. A configuration whose
`freeze` names the encoders and whose contrastive weight is 0 trains the multimodal encoder alone.
"""

from __future__ import annotations

import logging

import torch
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining

from flava_gpu.batching import to_device
from flava_gpu.checkpoint import export_checkpoint
from flava_gpu.distributed import join_ranks, leave_ranks, training_device
from flava_gpu.file_hash import sha256_of_file
from flava_gpu.fusion_metrics import evaluate_fusion
from flava_gpu.joint_config import JointConfig, check_config, heads_of, make_batches
from flava_gpu.joint_objectives import FlavaObjectives
from flava_gpu.pairs import (
    Pairs,
    caption_texts,
    data_hash,
    held_out_names,
    load_glosses,
    load_pairs,
    load_training_pairs,
)
from flava_gpu.retrieval import evaluate_pairs
from flava_gpu.training.command import stage_run
from flava_gpu.training.config import OptimizationConfig
from flava_gpu.training.identity import run_identity
from flava_gpu.training.initialization import initialize
from flava_gpu.training.optimizer import autocast, build_optimizer, gradient_scaler, is_stuck_at_chance, take_step
from flava_gpu.training.parallel import parallelize, whole_model, whole_weights
from flava_gpu.training.record import training_record
from flava_gpu.training.run import TrainingRun
from flava_gpu.vocabulary import load_or_train_tokenizer

log = logging.getLogger("flava_gpu.stages.joint")


def main(argv: list[str] | None = None) -> None:
    config, folder = stage_run(JointConfig, __doc__, argv, has_ranks=True)
    device = training_device()
    ranks = join_ranks(device)
    check_config(config, ranks)
    torch.set_num_threads(config.optimization.threads)
    torch.manual_seed(config.seed)

    # Data
    pairs = load_training_pairs(config.data)
    dev = {"dev_style": load_pairs(config.data, "dev-style", "train")}
    dev["dev_concepts"] = load_pairs(config.data, "train-style", "dev")
    texts = [*load_glosses(config.data, held_out_names(config.data)), *caption_texts(config.data)]
    vocabulary = config.tokenizer or folder / "tokenizer.json"
    with ranks.main_first():
        tokenizer = load_or_train_tokenizer(vocabulary, texts, config.model.vocab_size)
    batches = make_batches(config, pairs, texts, tokenizer, ranks)
    log.info("%d pictures of %d concepts, %d texts", len(pairs.images), len(pairs.names), len(texts))

    # Model and optimizer
    model = FlavaForPreTraining(config.model.to_flava())
    loaded = initialize(model, config.init)
    model.to(device).train()  # pyright: ignore[reportArgumentType]
    objectives = parallelize(
        FlavaObjectives(model, config.weights, ranks, config.global_backprop), config.strategy, ranks
    )
    optimizer = build_optimizer(model, config.optimization)
    scaler = gradient_scaler(config.optimization, device)
    tools = [config.codebook] if config.codebook else []
    identity = run_identity(config, data_hash(config.data), [*(init.source for init in config.init), *tools])
    identity |= {"shards": batches.streamed and batches.streamed.fingerprint, "vocabulary": sha256_of_file(vocabulary)}
    run = TrainingRun(folder, identity, model, optimizer, config.optimization, config.logging, ranks, scaler)

    # Loop
    for update in run.updates():
        parts: list[dict[str, torch.Tensor]] = []
        items: list[str] = []
        with run.reporting(update, lambda items=items: items):
            for part in range(config.batches.accumulation):
                drawn = batches.draw(update, part)
                items.extend(drawn.items)
                with autocast(config.optimization, device):
                    losses = objectives(to_device(drawn.batch, device))
                scaler.scale(losses.pop("loss") / config.batches.accumulation).backward()
                parts.append(losses)
            losses = {name: torch.stack([losses[name].detach() for losses in parts]).mean() for name in parts[0]}
            means = run.mean_losses(update, losses)
            norm = take_step(optimizer, model.parameters(), update, config.optimization, scaler)
            run.finish_update(update, means, gradient_norm=norm.item())
        if run.is_due(update, config.logging.curve_every):
            warn_when_stuck(update, means, config.optimization)
        if run.is_due(update, config.logging.evaluate_every):
            with run.averaged(), whole_weights(objectives):
                for name, metrics in evaluate(model, tokenizer, dev, config).items():
                    run.record_metrics(update, name, metrics)

    # Evaluate and save
    with run.averaged():
        with whole_weights(objectives):
            metrics = evaluate(model, tokenizer, dev, config)
        heads = heads_of(config)
        record = training_record("joint", run, config, config.optimization, heads, metrics, loaded, tools)
        whole = whole_model(model)
        for target in (folder, config.output):
            if target is not None and whole is not None and ranks.is_main:
                export_checkpoint(target, whole, tokenizer, record, batches.codebook)
    run.plot(folder / "curves.png", f"{config.name}: {run.seconds / 60:.0f} minutes")
    log.info("%.0f minutes; saved %s", run.seconds / 60, folder)
    leave_ranks(ranks)


def evaluate(
    model: FlavaForPreTraining, tokenizer: Tokenizer, dev: dict[str, Pairs], config: JointConfig
) -> dict[str, dict[str, float]]:
    """Retrieval on the dev style and the dev concepts, and the multimodal heads on the dev style; percent."""
    size, max_length = config.model.image_size, config.model.max_text_length
    metrics = {name: evaluate_pairs(model, tokenizer, pairs, size, max_length) for name, pairs in dev.items()}
    metrics["dev_style_fusion"] = evaluate_fusion(model, tokenizer, dev["dev_style"], size, max_length)
    return metrics


def warn_when_stuck(update: int, losses: dict[str, float], optimization: OptimizationConfig) -> None:
    """Once the warm-up is long past; a run whose loss sits at ln(batch) that early seldom leaves it."""
    contrastive = losses.get("contrastive")
    if contrastive is None or update < 3 * optimization.warmup_updates:
        return
    if is_stuck_at_chance(contrastive, optimization.batch_size):
        log.warning("contrastive loss sits at ln(batch): try a longer warm-up or a lower learning rate")


if __name__ == "__main__":
    main()
