"""Masked image modeling (BEiT, arXiv 2106.08254, as FLAVA §3.2): the visual tokens of masked patches from those around them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import FlavaForPreTraining, FlavaImageModel

from flava_gpu.augment import augment, normalize
from flava_gpu.block_masking import BlockMasking
from flava_gpu.codebook.folder import load_fitting_codebook
from flava_gpu.codebook.pixels import codebook_pixels
from flava_gpu.codebook.token_cache import cached_tokens
from flava_gpu.codebook.tokens import PIXELS_PER_TOKEN, tokenize
from flava_gpu.codebook.usage import Usage
from flava_gpu.objectives import image_states, mim_loss
from flava_gpu.pairs import Pairs
from flava_gpu.preprocess import stored_pictures, to_pixel_values
from flava_gpu.sampling import stream_seed
from flava_gpu.training.config import AugmentationConfig, ConfigError, ModelConfig

TRAINED = ("flava.image_model.", "mim_head.")


@dataclass(frozen=True)
class MimConfig:
    codebook: Path
    augmentation: AugmentationConfig
    """Of what the encoder sees; the tokens are the plain picture's, so nothing may move (codebook/token_cache.py)."""


class MaskedImages:
    """The model's image side with its MIM head, and batches drawn from the seed and the update's number alone."""

    def __init__(
        self,
        config: MimConfig,
        geometry: ModelConfig,
        seed: int,
        model: FlavaForPreTraining,
        folder: Path,
        train: Pairs,
        dev: Pairs,
    ) -> None:
        """`folder` keeps the training pictures' tokens. Raises ConfigError where the configuration's parts do not fit."""
        _check_still(config.augmentation)
        codebook = load_fitting_codebook(config.codebook, geometry)
        self.config = config
        self.seed = seed
        self.size = geometry.image_size
        self.images = train.images
        self.model = model
        self.module: nn.Module = model
        self.trained: nn.Module = model
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(TRAINED) and "pooler" not in name)
        self.masking = BlockMasking.for_grid(geometry.patches_per_side)
        side = PIXELS_PER_TOKEN * geometry.patches_per_side
        self.tokens = cached_tokens(folder, codebook, train.images, side)  # int16 [n, rows, columns]
        Usage.of(self.tokens, codebook.vocab_size).warn_if_collapsed("tokens of the training pictures")
        self.dev_values = to_pixel_values(stored_pictures(dev.images), self.size)
        self.dev_tokens = tokenize(codebook, codebook_pixels(dev.images, side))
        self.dev_masks = self.masking.draw(len(dev.images), random.Random(seed))

    @property
    def encoder(self) -> FlavaImageModel:
        return self.model.flava.image_model

    def losses(self, rows: list[int], update: int) -> dict[str, Tensor]:
        """Of a batch of the training pictures at `rows`."""
        generator = torch.Generator().manual_seed(stream_seed(self.seed, update, "augment"))
        pixels = augment(self.images[rows], self.size, self.config.augmentation, generator)
        masked = self.masking.draw(len(rows), random.Random(stream_seed(self.seed, update, "mask")))
        return {"mim": mim_loss(self.model, normalize(pixels), masked, self.tokens[rows].long())}

    def before_step(self, update: int) -> None:
        """Nothing: all gradients count."""

    def after_step(self, update: int) -> dict[str, float]:
        """Nothing to add to the curves."""
        return {}

    def warn_if_collapsed(self) -> bool:
        """A cross entropy with fixed labels cannot collapse."""
        return False

    @torch.no_grad()
    def evaluate(self) -> dict[str, dict[str, float]]:
        """On the dev style, masked the same way each time: loss in nats, accuracy in percent, and what always naming the
        training pictures' most frequent token reaches."""
        masked = self.dev_masks.bool()
        logits: list[Tensor] = []
        for values, mask in zip(self.dev_values.split(128), masked.split(128), strict=True):
            with torch.autocast("cpu", torch.bfloat16):
                states = image_states(self.model, values, bool_masked_pos=mask)
                logits.append(self.model.mim_head(self.encoder.layernorm(states)[:, 1:][mask.flatten(1)]).float())
        labels = self.dev_tokens[masked]  # as the selection above: row by row, patch by patch
        predicted = torch.cat(logits)
        most_frequent = self.tokens.flatten().mode().values
        metrics = {
            "mim": nn.functional.cross_entropy(predicted, labels).item(),
            "accuracy": 100 * (predicted.argmax(dim=1) == labels).double().mean().item(),
            "most_frequent": 100 * (labels == most_frequent).double().mean().item(),
        }
        return {"dev_style_patches": metrics}


def _check_still(augmentation: AugmentationConfig) -> None:
    moving = {name for name in ("rotation", "stretch", "shift") if getattr(augmentation, name)}
    if augmentation.scale != (1.0, 1.0):
        moving.add("scale")
    if moving:
        raise ConfigError(f"mim.augmentation: {sorted(moving)} would move the picture under its tokens")
