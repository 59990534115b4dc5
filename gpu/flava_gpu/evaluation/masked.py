"""Masked words and masked patches: how often the model's first guess is the token that was there.

    MLM         a word of a text, from the text                    floor: the most frequent word piece
    MMM-text    a word of a caption, with its picture in view      floors: the same; the same model without the picture
    MIM         a patch's visual token, from the picture           floors: the most frequent token, also of each place
    MMM-image   the same with the caption in view                  floors: the same; the same model without the text

"Without" is a blank white picture, and a text of no words. All of this is PyTorch in fp32: the edge engine takes neither masked
ids nor masked patches. What is frequent is counted on training items.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from transformers import FlavaForPreTraining, FlavaImageCodebook

from flava_gpu.batching import IGNORE_INDEX, SpecialIds, TextBatch, encode_texts, mask_tokens
from flava_gpu.block_masking import BlockMasking
from flava_gpu.codebook.pixels import pixels_of
from flava_gpu.codebook.tokens import PIXELS_PER_TOKEN, tokenize
from flava_gpu.evaluation.confidence import of_share
from flava_gpu.evaluation.emoji import Picture
from flava_gpu.evaluation.metrics import Flags, Ids
from flava_gpu.evaluation.model import EvaluatedModel
from flava_gpu.evaluation.progress import bar
from flava_gpu.evaluation.scores import Floor, Score
from flava_gpu.objectives import fused_states, image_states, patch_labels, text_states
from flava_gpu.preprocess import to_pixel_values

Item = TypeVar("Item")
BATCH = 64
WORD_SHARE = 0.15
ONE_WORD = 0.0
"""Of a caption's words: mask_tokens always masks one."""
SEED = 0
NO_TEXT = ""
WHITE = Image.new("RGB", (8, 8), "white")


@dataclass(frozen=True)
class Guesses:
    """Of the masked places of all items, one after the other."""

    targets: Ids
    predicted: Ids
    items: Ids
    """Which item a place is in: places of one item are not independent."""
    places: Ids
    """Position in the item."""

    @property
    def hits(self) -> Flags:
        return self.targets == self.predicted

    @classmethod
    def joined(cls, parts: Sequence[Guesses]) -> Guesses:
        columns = ("targets", "predicted", "items", "places")
        return cls(*(np.concatenate([getattr(part, column) for part in parts]) for column in columns))


@torch.no_grad()
def guess_words(model: EvaluatedModel, texts: Sequence[str]) -> Guesses:
    """MLM: 15 % of the words of each text are [MASK]."""
    model.require_heads("mlm")
    flava, parts = model.flava, []
    for start, batch in _batches(texts, "masked words"):
        masked, labels, text = _mask_words(model.tokenizer, batch, model.max_text_length, WORD_SHARE, start)
        states = flava.flava.text_model.layernorm(text_states(flava, masked, text.attention_mask))
        parts.append(_guesses(flava.mlm_head, states, labels, start))
    return Guesses.joined(parts)


@torch.no_grad()
def guess_caption_words(model: EvaluatedModel, pictures: Sequence[Picture], *, is_blind: bool) -> Guesses:
    """MMM-text: one word piece of each picture's name is [MASK]; `is_blind` puts a white picture in the picture's place."""
    model.require_heads("mmm_text")
    flava, parts = model.flava, []
    for start, batch in _batches(pictures, "masked words of captions"):
        shown = [WHITE if is_blind else Image.open(picture.path) for picture in batch]
        image = image_states(flava, to_pixel_values(shown, model.image_size))
        names = [picture.name for picture in batch]
        parts.append(guess_words_of_captions(flava, model.tokenizer, image, names, model.max_text_length, start))
    return Guesses.joined(parts)


def guess_words_of_captions(
    flava: FlavaForPreTraining,
    tokenizer: Tokenizer,
    image: Tensor,
    captions: Sequence[str],
    max_length: int,
    start: int,
) -> Guesses:
    """Of a batch, one word piece of each caption beside `image` [batch, 1 + patches, hidden_size]; `start` numbers the first."""
    masked, labels, text = _mask_words(tokenizer, captions, max_length, ONE_WORD, start)
    attention_mask = text.attention_mask.to(flava.device)
    words = text_states(flava, masked.to(flava.device), attention_mask)
    states = fused_states(flava, image, words, attention_mask)[:, -words.shape[1] :]
    return _guesses(flava.mmm_text_head, states, labels, start)


@torch.no_grad()
def guess_patches(model: EvaluatedModel, pictures: Sequence[Picture], codebook: FlavaImageCodebook) -> Guesses:
    """MIM: blocks of patches are masked, their visual tokens asked."""
    model.require_heads("mim")
    flava, parts = model.flava, []
    for start, batch in _batches(pictures, "masked patches"):
        pixel_values, mask, labels = _mask_patches(model, batch, codebook, start)
        states = image_states(flava, pixel_values, bool_masked_pos=mask)
        parts.append(_guesses(flava.mim_head, flava.flava.image_model.layernorm(states)[:, 1:], labels, start))
    return Guesses.joined(parts)


@torch.no_grad()
def guess_patches_of_pairs(
    model: EvaluatedModel, pictures: Sequence[Picture], codebook: FlavaImageCodebook, *, is_blind: bool
) -> Guesses:
    """MMM-image: the same patches with the picture's name in view; `is_blind` puts a text of no words in its place."""
    model.require_heads("mmm_image")
    flava, parts = model.flava, []
    for start, batch in _batches(pictures, "masked patches of pairs"):
        pixel_values, mask, labels = _mask_patches(model, batch, codebook, start)
        names = [NO_TEXT if is_blind else picture.name for picture in batch]
        text = encode_texts(model.tokenizer, names, model.max_text_length)
        image = image_states(flava, pixel_values, bool_masked_pos=mask)
        words = text_states(flava, text.input_ids, text.attention_mask)
        states = fused_states(flava, image, words, text.attention_mask)
        parts.append(_guesses(flava.mmm_image_head, states[:, 2 : 1 + image.shape[1]], labels, start))
    return Guesses.joined(parts)


def frequent_words(model: EvaluatedModel, texts: Sequence[str]) -> int:
    """The most frequent word piece of training texts."""
    special = SpecialIds.of(model.tokenizer)
    counts = np.zeros(model.tokenizer.get_vocab_size(), np.int64)
    for encoding in model.tokenizer.encode_batch(list(texts)):
        np.add.at(counts, encoding.ids, 1)
    counts[[special.mask, *special.others]] = 0
    return int(counts.argmax())


def frequent_tokens(codebook: FlavaImageCodebook, pictures: Sequence[Picture], side: int) -> tuple[int, Ids]:
    """The most frequent visual token of training pictures, and that of each place [side * side]."""
    counts = np.zeros((side * side, codebook.config.vocab_size), np.int64)
    for _, batch in _batches(pictures, "visual tokens"):
        tokens = _visual_tokens(codebook, batch, side).flatten(1).numpy()
        np.add.at(counts, (np.broadcast_to(np.arange(side * side), tokens.shape), tokens), 1)
    return int(counts.sum(axis=0).argmax()), counts.argmax(axis=1)


def masked_score(task: str, about: str, guesses: Guesses, floors: Sequence[Floor]) -> Score:
    return Score(
        task=task,
        about=about,
        suite="masked",
        metric="accuracy",
        n=len(guesses.targets),
        got=of_share(guesses.hits, guesses.items.tolist()),
        floors=tuple(floors),
        engine="torch",
    )


def constant_floor(name: str, guesses: Guesses, token: int) -> Floor:
    return Floor(name, float((guesses.targets == token).mean()))


def _mask_words(
    tokenizer: Tokenizer, texts: Sequence[str], max_length: int, share: float, start: int
) -> tuple[Tensor, Tensor, TextBatch]:
    """Ids with [MASK] at every chosen place, labels and the whole text; what is chosen depends on the first item's number."""
    text = encode_texts(tokenizer, list(texts), max_length)
    special = SpecialIds.of(tokenizer)
    generator = torch.Generator().manual_seed(SEED + start)
    _, labels = mask_tokens(text, share, tokenizer.get_vocab_size(), generator, special)
    return torch.where(labels == IGNORE_INDEX, text.input_ids, special.mask), labels, text


def _mask_patches(
    model: EvaluatedModel, pictures: Sequence[Picture], codebook: FlavaImageCodebook, start: int
) -> tuple[Tensor, Tensor, Tensor]:
    """pixel_values, masks [batch, rows, columns] and labels [batch, patches]."""
    side = model.patches_per_side
    pixel_values = to_pixel_values([Image.open(picture.path) for picture in pictures], model.image_size)
    mask = BlockMasking.for_grid(side).draw(len(pictures), random.Random(SEED + start))
    return pixel_values, mask, patch_labels(mask, _visual_tokens(codebook, pictures, side))


def _visual_tokens(codebook: FlavaImageCodebook, pictures: Sequence[Picture], side: int) -> Tensor:
    """int64 [pictures, side, side]."""
    return tokenize(codebook, pixels_of([Image.open(picture.path) for picture in pictures], PIXELS_PER_TOKEN * side))


def _guesses(head: torch.nn.Module, states: Tensor, labels: Tensor, start: int) -> Guesses:
    """`states` [batch, places, hidden_size], `labels` [batch, places]."""
    rows, places = (labels != IGNORE_INDEX).nonzero(as_tuple=True)
    predicted = head(states[rows, places]).argmax(dim=1).cpu()
    return Guesses(labels[rows, places].numpy(), predicted.numpy(), rows.numpy() + start, places.numpy())


def _batches(items: Sequence[Item], label: str) -> Iterator[tuple[int, Sequence[Item]]]:
    with bar(len(items), label, "item") as progress:
        for start in range(0, len(items), BATCH):
            yield start, items[start : start + BATCH]
            progress.update(min(BATCH, len(items) - start))
