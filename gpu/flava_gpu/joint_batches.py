"""What each update of joint training sees: a batch of one data set, masked and ready for the model.

Each batch is drawn from the seed, the update's number and the rank alone. All ranks draw the same data set and the same items and
take their own share of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from transformers import FlavaImageCodebook

from flava_gpu.augment import augment, normalize
from flava_gpu.batching import TextBatch, encode_texts, mask_tokens
from flava_gpu.block_masking import BlockMasking
from flava_gpu.codebook.tokens import PIXELS_PER_TOKEN, tokenize
from flava_gpu.distributed import Ranks
from flava_gpu.length_buckets import LengthBuckets
from flava_gpu.objectives import patch_labels
from flava_gpu.pair_sampling import DrawnPairs, PairSampler
from flava_gpu.sampling import stream_seed
from flava_gpu.shards.pairs import StreamedPairs
from flava_gpu.training.config import AugmentationConfig, ModelConfig

DatasetName = Literal["pairs", "images", "texts"]


@dataclass(frozen=True)
class DatasetsConfig:
    """Probabilities with which an update draws its data set; the paper's are 0.70, 0.15, 0.15."""

    pairs: float
    images: float
    texts: float


@dataclass(frozen=True)
class BatchesConfig:
    patch_keep: float
    """Share of the patches that the contrastive pass keeps, drawn at random (as in FLIP, arXiv 2212.00794)."""
    full_patches_from: float
    """Share of the updates after which it keeps all of them."""
    multimodal_every: int
    """Of the updates on pairs, every how many the fused losses are taken too."""
    multimodal: int
    """Pairs of the batch that they are taken on."""
    images: int
    texts: int
    texts_max_length: int
    mask_probability: float
    itm_mismatch: float
    """Share of fused pairs whose caption is another concept's."""
    itm_hard: float
    """Share of these whose other concept is of the same subgroup."""
    accumulation: int = 1
    """Batches whose gradients are added up for one update."""


@dataclass(frozen=True)
class WordsBatch:
    """Masked words: ids and labels int64 [batch, seq_len], labels -100 where nothing is predicted."""

    masked_ids: Tensor
    attention_mask: Tensor
    mlm_labels: Tensor


@dataclass(frozen=True)
class ImagesBatch:
    """Masked pictures: pixel_values f32 [batch, 3, size, size], bool_masked_pos int64 [batch, rows, columns], and the tokens
    of every patch int64 [batch, rows, columns]; no tokens without a codebook, and then no patch is masked."""

    pixel_values: Tensor
    bool_masked_pos: Tensor | None
    codebook_tokens: Tensor | None

    @property
    def mim_labels(self) -> Tensor | None:
        if self.bool_masked_pos is None or self.codebook_tokens is None:
            return None
        return patch_labels(self.bool_masked_pos, self.codebook_tokens)


@dataclass(frozen=True)
class FusedBatch:
    image: ImagesBatch
    words: WordsBatch
    itm_labels: Tensor  # int64 [batch], 1 = match


@dataclass(frozen=True)
class PairsBatch:
    pixel_values: Tensor  # f32 [batch, 3, size, size]
    kept_patches: Tensor | None  # int64 [batch, kept]
    text: TextBatch
    fused: FusedBatch | None


JointBatch = PairsBatch | ImagesBatch | WordsBatch


@dataclass(frozen=True)
class Drawn:
    """A batch and what stands in it, by which a crash report names it."""

    batch: JointBatch
    items: list[str]


@dataclass(frozen=True)
class JointBatches:
    seed: int
    updates: int
    batch_size: int
    datasets: DatasetsConfig
    sizes: BatchesConfig
    model: ModelConfig
    augmentation: AugmentationConfig
    tokenizer: Tokenizer
    sampler: PairSampler
    texts: LengthBuckets
    codebook: FlavaImageCodebook | None
    ranks: Ranks
    fuses: bool
    """Whether pairs are ever masked and matched for the multimodal encoder."""
    streamed: StreamedPairs | None
    """Where pairs come from instead of the sampler."""

    def dataset_of(self, update: int) -> DatasetName:
        """The same on every rank: gradients of different losses could not be averaged."""
        share = self._rng(update, "dataset").random() * (
            self.datasets.pairs + self.datasets.images + self.datasets.texts
        )
        if share < self.datasets.pairs:
            return "pairs"
        return "images" if share < self.datasets.pairs + self.datasets.images else "texts"

    def draw(self, update: int, part: int = 0) -> Drawn:
        """Batch number `part` of those whose gradients are accumulated."""
        name = self.dataset_of(update)
        if name == "pairs":
            return self._pairs(update, part)
        return self._images(update, part) if name == "images" else self._texts(update, part)

    def _pairs(self, update: int, part: int) -> Drawn:
        drawn = self._drawn_pairs(update, part)
        pixels = self._augmented(drawn.images, update, "pairs", part)
        text = encode_texts(self.tokenizer, drawn.captions, self.model.max_text_length)
        is_fused = self.fuses and self._rng(update, "is fused").random() * self.sizes.multimodal_every < 1
        fused = self._fused(pixels, drawn, update, part) if is_fused else None
        batch = PairsBatch(normalize(pixels), self._kept_patches(len(pixels), update, part), text, fused)
        items = [f"{concept}: {caption}" for concept, caption in zip(drawn.concepts, drawn.captions, strict=True)]
        return Drawn(batch, items)

    def _drawn_pairs(self, update: int, part: int) -> DrawnPairs:
        """This rank's."""
        if self.streamed is not None:
            number = self._earlier_pairs[update] * self.sizes.accumulation + part
            return self.streamed.draw(number, self._rng(update, "captions", part, self.ranks.rank))
        drawn = self.sampler.draw(self.batch_size, self._rng(update, "pairs", part))
        own = self.ranks.share(list(range(self.batch_size)))
        return DrawnPairs(
            drawn.images[own],
            [drawn.concepts[row] for row in own],
            [drawn.captions[row] for row in own],
            [drawn.words[row] for row in own],
        )

    @cached_property
    def _earlier_pairs(self) -> list[int]:
        """Updates on pairs before each update: which of the streamed batches it takes, so that none is left out."""
        are_pairs = (int(self.dataset_of(update) == "pairs") for update in range(self.updates))
        return list(accumulate(are_pairs, initial=0))

    def _fused(self, pixels: Tensor, drawn: DrawnPairs, update: int, part: int) -> FusedBatch:
        rng = self._rng(update, "itm", part, self.ranks.rank)
        count = min(len(pixels), self.sizes.multimodal // self.ranks.count)
        mismatched = set(rng.sample(range(count), round(count * self.sizes.itm_mismatch)))
        drawn_others = ((row, self._other_caption(drawn, row, rng)) for row in sorted(mismatched))
        others = {row: caption for row, caption in drawn_others if caption is not None}
        texts = [others.get(row, drawn.captions[row]) for row in range(count)]
        itm_labels = torch.tensor([int(row not in others) for row in range(count)])
        return FusedBatch(
            self._masked_images(pixels[:count], update, "mmm", part),
            self._masked_words(texts, self.model.max_text_length, update, "mmm", part),
            itm_labels,
        )

    def _other_caption(self, drawn: DrawnPairs, row: int, rng: random.Random) -> str | None:
        """Another concept's, without the words that are this one's too: "animal" fits both a cat and a dog. Shards know no
        concepts: there it is another picture's of the batch, None where all fit this one."""
        own = drawn.words[row]
        if self.streamed is not None:
            others = [caption for caption in drawn.captions if caption.lower() not in own]
            return rng.choice(others) if others else None
        other = self.sampler.mismatched(drawn.concepts[row], self.sizes.itm_hard, rng)
        return self.sampler.caption(other, rng, other_than=own)

    def _images(self, update: int, part: int) -> Drawn:
        pairs = self.sampler.pairs
        rows = self.ranks.share(self._rng(update, "images", part).sample(range(len(pairs.images)), self.sizes.images))
        pixels = self._augmented(pairs.images[rows], update, "images", part)
        return Drawn(self._masked_images(pixels, update, "mim", part), [pairs.concepts[row] for row in rows])

    def _texts(self, update: int, part: int) -> Drawn:
        texts = self.ranks.share(self.texts.draw(self._rng(update, "texts", part)))
        return Drawn(self._masked_words(texts, self.sizes.texts_max_length, update, "mlm", part), texts)

    def _augmented(self, images: Tensor, update: int, stream: str, part: int) -> Tensor:
        """f32 [batch, 3, size, size] in [0, 1]."""
        generator = self._generator(update, f"augment {stream}", part)
        return augment(images, self.model.image_size, self.augmentation, generator)

    def _masked_images(self, pixels: Tensor, update: int, stream: str, part: int) -> ImagesBatch:
        if self.codebook is None:
            return ImagesBatch(normalize(pixels), None, None)
        masking = BlockMasking.for_grid(self.model.patches_per_side)
        masked = masking.draw(len(pixels), self._rng(update, f"mask {stream}", part, self.ranks.rank))
        # One token a patch, whatever its size.
        side = PIXELS_PER_TOKEN * self.model.patches_per_side
        codebook_pixels = pixels if pixels.shape[-1] == side else F.interpolate(pixels, (side, side), mode="area")
        return ImagesBatch(normalize(pixels), masked, tokenize(self.codebook, codebook_pixels))

    def _masked_words(self, texts: list[str], max_length: int, update: int, stream: str, part: int) -> WordsBatch:
        words = encode_texts(self.tokenizer, texts, max_length)
        generator = self._generator(update, f"words {stream}", part)
        masked, labels = mask_tokens(words, self.sizes.mask_probability, self.model.vocab_size, generator)
        return WordsBatch(masked, words.attention_mask, labels)

    def _kept_patches(self, batch: int, update: int, part: int) -> Tensor | None:
        if self.sizes.patch_keep >= 1 or update >= self.sizes.full_patches_from * self.updates:
            return None
        order = torch.rand((batch, self.model.num_patches), generator=self._generator(update, "patches", part))
        return order.argsort(dim=1)[:, : round(self.model.num_patches * self.sizes.patch_keep)]

    def _rng(self, update: int, *stream: str | int) -> random.Random:
        return random.Random(stream_seed(self.seed, update, *stream))

    def _generator(self, update: int, stream: str, part: int) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(self.seed, update, stream, part, self.ranks.rank))
