"""What two processes train, for test_parallel.py: `torchrun … -m tests.parallel_job FOLDER` leaves it in FOLDER.

Imported by the test too, which trains the same with one process. Everything is in f64.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers import FlavaForPreTraining

from flava_gpu.batching import IGNORE_INDEX, TextBatch
from flava_gpu.distributed import Ranks, join_ranks
from flava_gpu.joint_batches import FusedBatch, ImagesBatch, JointBatch, PairsBatch, WordsBatch
from flava_gpu.joint_objectives import FlavaObjectives, WeightsConfig
from flava_gpu.objectives import image_embedding, image_states
from flava_gpu.stages import joint
from flava_gpu.training.config import LoggingConfig, ModelConfig, OptimizationConfig
from flava_gpu.training.optimizer import build_optimizer, gradient_scaler, take_step
from flava_gpu.training.parallel import Strategy, parallelize, whole_model, whole_weights
from flava_gpu.training.run import TrainingRun
from flava_gpu.training.sharded import full, gathered

T = TypeVar("T")
ROWS = 8
WORDS = 7
GEOMETRY = ModelConfig(
    image_size=16,
    patch_size=4,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    multimodal_layers=1,
    vocab_size=40,
    max_text_length=12,
    image_vocab_size=16,
    codebook_hidden_size=8,
)
PATCHES = GEOMETRY.patches_per_side
WEIGHTS = WeightsConfig(contrastive=1.0, itm=0.5, mmm_text=0.7, mmm_image=0.3, mim=1.0, mlm=1.0)
CONTRASTIVE = WeightsConfig(contrastive=1.0, itm=0.0, mmm_text=0.0, mmm_image=0.0, mim=0.0, mlm=0.0)
UPDATES = 5
OPTIMIZATION = OptimizationConfig(
    updates=UPDATES,
    batch_size=ROWS,
    learning_rate=1e-2,
    warmup_updates=1,
    weight_decay=0.1,
    betas=(0.9, 0.99),
    gradient_clip=1.0,
    precision="f32",
    threads=1,
    ema_decay=0.9,
)
LOGGING = LoggingConfig(curve_every=100, evaluate_every=100, checkpoint_every=3)
RANKS = 2


def make_model(seed: int = 0) -> FlavaForPreTraining:
    torch.manual_seed(seed)
    model = FlavaForPreTraining(GEOMETRY.to_flava()).double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def make_batch(update: int) -> JointBatch:
    """Of both ranks. The ranks' halves have unequal numbers of masked tokens and of matched pairs; in update 3 the second
    half has no matched pair and no masked patch, in update 1 no masked word."""
    generator = torch.Generator().manual_seed(update)
    images = _images(generator, [0.6, 0.1] if update != 3 else [0.5, 0.0])
    words = _words(generator, [0.5, 0.15] if update != 1 else [0.5, 0.0])
    if update == 1:
        return words
    if update == 2:
        return images
    text = TextBatch(
        torch.where(words.mlm_labels == IGNORE_INDEX, words.masked_ids, words.mlm_labels), words.attention_mask
    )
    itm_labels = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0] if update != 3 else [1, 0, 1, 1, 0, 0, 0, 0])
    return PairsBatch(images.pixel_values, None, text, FusedBatch(images, words, itm_labels))


def _images(generator: torch.Generator, shares: list[float]) -> ImagesBatch:
    pixels = torch.randn((ROWS, 3, 16, 16), generator=generator, dtype=torch.float64)
    scores = torch.rand((ROWS, PATCHES, PATCHES), generator=generator)
    return ImagesBatch(
        pixels,
        (scores < _by_half(shares)[:, None, None]).long(),
        torch.randint(GEOMETRY.image_vocab_size, scores.shape, generator=generator),
    )


def _words(generator: torch.Generator, shares: list[float]) -> WordsBatch:
    ids = torch.randint(5, GEOMETRY.vocab_size, (ROWS, WORDS), generator=generator)
    attention_mask = torch.ones_like(ids)
    attention_mask[2, 4:] = 0
    is_masked = (torch.rand(ids.shape, generator=generator) < _by_half(shares)[:, None]) & (attention_mask == 1)
    return WordsBatch(torch.where(is_masked, 4, ids), attention_mask, torch.where(is_masked, ids, IGNORE_INDEX))


def _by_half(shares: list[float]) -> Tensor:
    return torch.tensor(shares).repeat_interleave(ROWS // 2)


def share(value: T, ranks: Ranks) -> T:
    """This rank's rows of everything in a batch."""
    each = ROWS // ranks.count
    if isinstance(value, Tensor):
        return cast(T, value[ranks.rank * each : (ranks.rank + 1) * each])
    if value is None:
        return value
    fields = {name: share(item, ranks) for name, item in vars(value).items()}
    return replace(cast(Any, value), **fields)


def gradients(strategy: Strategy, ranks: Ranks, batch: JointBatch, *, weights: WeightsConfig, is_global: bool) -> dict:
    """By name, as the optimizer would see them; whole."""
    model = make_model()
    module = parallelize(FlavaObjectives(model, weights, ranks, is_global), strategy, ranks)
    loss = module(share(batch, ranks))["loss"]
    loss.backward()
    found = {name: full(p.grad).clone() for name, p in model.named_parameters() if p.grad is not None}
    return {**found, "loss": average(loss.detach(), ranks)}


def average(value: Tensor, ranks: Ranks) -> Tensor:
    return torch.tensor([told[0] for told in ranks.exchange([value.item()])], dtype=torch.float64).mean()


def train(
    strategy: Strategy, ranks: Ranks, folder: Path, stop: int | None = None
) -> tuple[nn.Module, TrainingRun, list]:
    """UPDATES updates over all kinds of batches, or what is left of them in `folder`; the norms of their gradients too."""
    model = make_model(seed=ranks.rank)  # rank 0's counts
    module = parallelize(FlavaObjectives(model, WEIGHTS, ranks), strategy, ranks)
    optimizer = build_optimizer(model, OPTIMIZATION)
    run = TrainingRun(folder, {"of": "test"}, model, optimizer, OPTIMIZATION, LOGGING, ranks)
    norms = []
    for update in run.updates():
        if update == stop:
            break
        losses = module(share(make_batch(update), ranks))
        losses.pop("loss").backward()
        norms.append(
            take_step(optimizer, model.parameters(), update, OPTIMIZATION, gradient_scaler(OPTIMIZATION)).item()
        )
        run.finish_update(update, run.mean_losses(update, losses))
    return module, run, norms


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    ranks = join_ranks("cpu")
    results: dict[str, Any] = {}
    strategies: tuple[Strategy, ...] = ("ddp", "fsdp")
    for strategy in strategies:
        pairs = cast(PairsBatch, make_batch(0))
        for name, is_global in (("global", True), ("local", False)):
            results[f"{strategy} {name}"] = gradients(strategy, ranks, pairs, weights=CONTRASTIVE, is_global=is_global)
        module, run, norms = train(strategy, ranks, folder / strategy)
        model = cast(FlavaForPreTraining, run.module)
        if (whole := whole_model(model)) is not None and ranks.is_main:
            whole.save_pretrained(folder / f"{strategy} model")
        results[f"{strategy} norms"] = norms
        results[f"{strategy} trained"] = gathered(model.state_dict())
        results[f"{strategy} without gradient"] = [n for n, p in model.named_parameters() if p.grad is None]
        with run.averaged():
            results[f"{strategy} averaged"] = {n: t.clone() for n, t in gathered(model.state_dict()).items()}
        with whole_weights(module), torch.no_grad():
            results[f"{strategy} embeddings"] = image_embedding(model, image_states(model, pairs.pixel_values))
        stopped, stopped_run, _ = train(strategy, ranks, folder / f"{strategy} stopped", stop=4)
        del stopped, stopped_run
        _, resumed_run, resumed_norms = train(strategy, ranks, folder / f"{strategy} stopped")
        results[f"{strategy} resumed"] = gathered(resumed_run.module.state_dict())
        results[f"{strategy} resumed norms"] = resumed_norms
    if ranks.is_main:
        torch.save(results, folder / "results.pt")
    joint.main(["--config", str(folder / "joint.yaml"), "--runs", str(folder / "runs")])  # leaves the ranks


if __name__ == "__main__":
    main()
