"""The masked-word and masked-patch rows of the table: which texts and pictures are asked, with their floors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from transformers import FlavaImageCodebook

from flava_gpu.codebook.folder import PREFIX, CodebookError, load_codebook
from flava_gpu.evaluation.emoji import Picture, of
from flava_gpu.evaluation.errors import DataMissingError, EvaluationDataError, HeadMissingError
from flava_gpu.evaluation.masked import (
    Guesses,
    constant_floor,
    frequent_tokens,
    frequent_words,
    guess_caption_words,
    guess_patches,
    guess_patches_of_pairs,
    guess_words,
    masked_score,
)
from flava_gpu.evaluation.metrics import Ids
from flava_gpu.evaluation.model import EvaluatedModel, tensor_names
from flava_gpu.evaluation.scores import Floor, Score
from flava_gpu.evaluation.sources import Sources
from flava_gpu.pairs import held_out_names, load_glosses
from flava_gpu.training.errors import TrainingError

PATCHES = "visual tokens of masked patches in a held-out style"


def mlm_score(model: EvaluatedModel, data: Path) -> Score:
    """On the glosses that training holds out."""
    model.require_heads("mlm")
    try:
        excluded = held_out_names(data)
        held_out, trained = load_glosses(data, excluded, "held-out"), load_glosses(data, excluded)
    except FileNotFoundError as error:
        raise DataMissingError(str(error)) from error
    except TrainingError as error:
        raise EvaluationDataError(str(error)) from error
    guesses = guess_words(model, held_out)
    floor = constant_floor("majority", guesses, frequent_words(model, trained))
    return masked_score("MLM", "words of WordNet glosses", guesses, [floor])


def mmm_text_score(model: EvaluatedModel, pictures: Sequence[Picture]) -> Score:
    """On names beside pictures of the held-out style."""
    shown = of(pictures, "test-style", "train")
    seen = guess_caption_words(model, shown, is_blind=False)
    blind = guess_caption_words(model, shown, is_blind=True)
    names = frequent_words(model, sorted({picture.name for picture in of(pictures, "train-style", "train")}))
    floors = [constant_floor("majority", seen, names), _blind_floor("without the picture", blind)]
    return masked_score("MMM-text", "a word piece of the name beside a picture in a held-out style", seen, floors)


@dataclass(frozen=True)
class MaskedPatches:
    """MIM and MMM-image on pictures of the held-out style. They share the codebook and the count of its tokens, which takes
    a while and is made for the first that was trained."""

    model: EvaluatedModel
    sources: Sources
    given: Path | None
    """Codebook in place of the checkpoint's."""

    def mim_score(self) -> Score:
        self.model.require_heads("mim")
        alone = guess_patches(self.model, self._shown, self._codebook)
        return masked_score("MIM", PATCHES, alone, self._floors(alone))

    def mmm_image_score(self) -> Score:
        self.model.require_heads("mmm_image")
        seen = guess_patches_of_pairs(self.model, self._shown, self._codebook, is_blind=False)
        blind = guess_patches_of_pairs(self.model, self._shown, self._codebook, is_blind=True)
        floors = [*self._floors(seen), _blind_floor("without the text", blind)]
        return masked_score("MMM-image", f"{PATCHES}, the name beside", seen, floors)

    @property
    def _shown(self) -> list[Picture]:
        return of(self.sources.pictures, "test-style", "train")

    @cached_property
    def _codebook(self) -> FlavaImageCodebook:
        return find_codebook(self.model.folder, self.given)

    @cached_property
    def _frequent(self) -> tuple[int, Ids]:
        training = of(self.sources.pictures, "train-style", "train")
        return frequent_tokens(self._codebook, training, self.model.patches_per_side)

    def _floors(self, guesses: Guesses) -> list[Floor]:
        token, tokens = self._frequent
        at_place = float((guesses.targets == tokens[guesses.places]).mean())
        return [constant_floor("majority", guesses, token), Floor("majority of the place", at_place)]


def find_codebook(checkpoint: Path, given: Path | None) -> FlavaImageCodebook:
    """`given`, else the checkpoint's own. Raises HeadMissingError where there is none, DataMissingError where `given` has none."""
    if given is None and not any(name.startswith(PREFIX) for name in tensor_names(checkpoint)):
        raise HeadMissingError(f"{checkpoint} holds no codebook whose tokens its heads name; --codebook gives one")
    try:
        return load_codebook(given or checkpoint)
    except CodebookError as error:
        raise DataMissingError(str(error)) from error


def _blind_floor(name: str, guesses: Guesses) -> Floor:
    return Floor(name, float(guesses.hits.mean()))
