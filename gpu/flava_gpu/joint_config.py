"""The joint stage's configuration, what of it must fit together before a run begins, and the batches that it describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from flava_gpu.codebook.folder import load_fitting_codebook
from flava_gpu.distributed import Ranks
from flava_gpu.joint_batches import BatchesConfig, DatasetsConfig, JointBatches
from flava_gpu.joint_objectives import WeightsConfig
from flava_gpu.length_buckets import LengthBuckets
from flava_gpu.pair_sampling import CaptionsConfig, PairSampler, PicturesConfig
from flava_gpu.pairs import Pairs
from flava_gpu.shards.pairs import ShardsConfig, StreamedPairs
from flava_gpu.training.config import (
    AugmentationConfig,
    ConfigError,
    InitConfig,
    LoggingConfig,
    ModelConfig,
    OptimizationConfig,
    as_plain,
    check_batch_size,
)
from flava_gpu.training.parallel import Strategy


@dataclass(frozen=True)
class JointConfig:
    name: str
    seed: int
    data: Path
    model: ModelConfig
    tokenizer: Path | None
    """Of the stage that `init` comes from; None trains a vocabulary."""
    codebook: Path | None
    """Visual tokens of MIM and MMM; None leaves both out."""
    init: tuple[InitConfig, ...]
    optimization: OptimizationConfig
    datasets: DatasetsConfig
    batches: BatchesConfig
    weights: WeightsConfig
    global_backprop: bool
    augmentation: AugmentationConfig
    captions: CaptionsConfig
    pictures: PicturesConfig
    logging: LoggingConfig
    output: Path | None = None
    """Where the checkpoint goes besides the run's folder."""
    shards: ShardsConfig | None = None
    """Pairs streamed from here instead of those of `data`, which still gives pictures alone, texts and the dev splits."""
    strategy: Strategy = "ddp"
    """Of several processes under torchrun: weights replicated, or sharded (`fsdp`)."""


def check_config(config: JointConfig, ranks: Ranks) -> None:
    """Raises ConfigError, naming the key, for what would fail in the middle of a run or be left out without a word."""
    weights, shares, sizes = config.weights, config.datasets, config.batches
    if config.tokenizer is not None and not config.tokenizer.is_file():
        raise ConfigError(f"{config.name}: tokenizer: {config.tokenizer} is missing; train that stage first")
    needs_tokens = {"datasets.images": shares.images, "weights.mmm_image": weights.mmm_image}
    for key, value in needs_tokens.items():
        if value and config.codebook is None:
            raise ConfigError(f"{config.name}: {key}: masked patches need a codebook")
    for key, share, weight in (("images", shares.images, weights.mim), ("texts", shares.texts, weights.mlm)):
        if share and not weight:
            raise ConfigError(f"{config.name}: datasets.{key}: drawn without a weight for its loss")
    if shares.pairs and not weights.contrastive and not (weights.fuse and sizes.multimodal_every == 1):
        raise ConfigError(
            f"{config.name}: batches.multimodal_every: without the contrastive loss every batch of pairs is fused"
        )
    if config.shards is not None and sizes.itm_hard:
        raise ConfigError(
            f"{config.name}: batches.itm_hard: shards name no subgroups that hard mismatches could come from"
        )
    shared = {"optimization.batch_size": config.optimization.batch_size, "batches.multimodal": sizes.multimodal}
    for key, value in {**shared, "batches.images": sizes.images, "batches.texts": sizes.texts}.items():
        if value % ranks.count:
            raise ConfigError(f"{config.name}: {key}: {value} is no multiple of the {ranks.count} processes")


def check_sizes(config: JointConfig, sampler: PairSampler, texts: Sequence[str], tokenizer: Tokenizer) -> None:
    """The same for what only the data and the tokenizer tell."""
    if config.shards is None:
        batch_size = config.optimization.batch_size
        check_batch_size(batch_size, len(sampler.emoji) + sampler.others_in(batch_size), "concepts")
    check_batch_size(config.batches.images, len(sampler.pairs.images), "pictures", "batches.images")
    check_batch_size(config.batches.texts, len(texts), "texts", "batches.texts")
    if tokenizer.get_vocab_size() > config.model.vocab_size:
        raise ConfigError(f"model.vocab_size: {config.tokenizer} has {tokenizer.get_vocab_size()} pieces")


def make_batches(
    config: JointConfig, pairs: Pairs, texts: Sequence[str], tokenizer: Tokenizer, ranks: Ranks
) -> JointBatches:
    """Of the training pairs and texts of `config.data`, and of its codebook and shards. Raises ConfigError."""
    sampler = PairSampler(pairs, config.captions, config.pictures)
    check_sizes(config, sampler, texts, tokenizer)
    optimization, streamed = config.optimization, None
    if config.shards is not None:
        side = config.model.image_size * 9 // 8  # as `npm run data` writes them: some of it falls to the augmentation
        count = optimization.updates * config.batches.accumulation
        streamed = StreamedPairs(config.shards, count, optimization.batch_size, side, config.seed, ranks)
    return JointBatches(
        seed=config.seed,
        updates=optimization.updates,
        batch_size=optimization.batch_size,
        datasets=config.datasets,
        sizes=config.batches,
        model=config.model,
        augmentation=config.augmentation,
        tokenizer=tokenizer,
        sampler=sampler,
        texts=LengthBuckets(texts, config.batches.texts),
        codebook=None if config.codebook is None else load_fitting_codebook(config.codebook, config.model),
        ranks=ranks,
        fuses=config.weights.fuse,
        streamed=streamed,
    )


def heads_of(config: JointConfig) -> list[str]:
    """Whose loss has a weight, a data set that is drawn and, for patches, a codebook: a weight alone trains nothing."""
    share_of = {"mim": config.datasets.images, "mlm": config.datasets.texts}
    needs_tokens = {"mim", "mmm_image"} if config.codebook is None else set[str]()
    return [
        head
        for head, weight in as_plain(config.weights).items()
        if weight and share_of.get(head, config.datasets.pairs) and head not in needs_tokens
    ]
