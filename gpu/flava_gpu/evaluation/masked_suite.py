"""The masked-word and masked-patch rows of the table: which texts and pictures are asked, with their floors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import FlavaImageCodebook

from flava_gpu.codebook.folder import PREFIX, load_codebook
from flava_gpu.evaluation.emoji import Picture, of
from flava_gpu.evaluation.errors import DataMissingError, HeadMissingError
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
from flava_gpu.evaluation.model import EvaluatedModel, tensor_names
from flava_gpu.evaluation.scores import Floor, Score
from flava_gpu.pairs import held_out_names, load_glosses
from flava_gpu.training.record import read_record


def masked_word_scores(model: EvaluatedModel, data: Path, pictures: Sequence[Picture]) -> list[Score]:
    """MLM on the glosses that training holds out, MMM-text on names beside pictures of the held-out style."""
    excluded = held_out_names(data)
    glosses = guess_words(model, load_glosses(data, excluded, "held-out"))
    frequent = frequent_words(model, load_glosses(data, excluded))
    shown = of(pictures, "test-style", "train")
    seen = guess_caption_words(model, shown, is_blind=False)
    blind = guess_caption_words(model, shown, is_blind=True)
    names = frequent_words(model, sorted({picture.name for picture in of(pictures, "train-style", "train")}))
    return [
        masked_score("MLM", "words of WordNet glosses", glosses, [constant_floor("majority", glosses, frequent)]),
        masked_score(
            "MMM-text",
            "a word piece of the name beside a picture in a held-out style",
            seen,
            [constant_floor("majority", seen, names), _blind_floor("without the picture", blind)],
        ),
    ]


def masked_patch_scores(
    model: EvaluatedModel, pictures: Sequence[Picture], codebook: FlavaImageCodebook, heads: Sequence[str]
) -> list[Score]:
    """MIM and MMM-image on pictures of the held-out style, as far as `heads` were trained."""
    shown = of(pictures, "test-style", "train")
    token, tokens = frequent_tokens(codebook, of(pictures, "train-style", "train"), model.patches_per_side)

    def floors(guesses: Guesses) -> list[Floor]:
        at_place = float((guesses.targets == tokens[guesses.places]).mean())
        return [constant_floor("majority", guesses, token), Floor("majority of the place", at_place)]

    about = "visual tokens of masked patches in a held-out style"
    scores = []
    if "mim" in heads:
        alone = guess_patches(model, shown, codebook)
        scores.append(masked_score("MIM", about, alone, floors(alone)))
    if "mmm_image" in heads:
        seen = guess_patches_of_pairs(model, shown, codebook, is_blind=False)
        blind = guess_patches_of_pairs(model, shown, codebook, is_blind=True)
        known = [*floors(seen), _blind_floor("without the text", blind)]
        scores.append(masked_score("MMM-image", f"{about}, the name beside", seen, known))
    return scores


def find_codebook(checkpoint: Path, given: Path | None) -> FlavaImageCodebook:
    """`given`, else the checkpoint's own, else the one that its record names. Raises HeadMissingError where there is none."""
    if given is not None:
        return load_codebook(given)
    if any(name.startswith(PREFIX) for name in tensor_names(checkpoint)):
        return load_codebook(checkpoint)
    named = read_record(checkpoint).get("config", {}).get("codebook")
    if named is None:
        raise HeadMissingError(f"{checkpoint} has no visual tokens: it was trained without a codebook")
    if not Path(named).is_dir():
        raise DataMissingError(
            f"{named}, the codebook that {checkpoint} was trained with, is missing: --codebook names one"
        )
    return load_codebook(Path(named))


def _blind_floor(name: str, guesses: Guesses) -> Floor:
    return Floor(name, float(guesses.hits.mean()))


def patch_heads(checkpoint: Path) -> list[str]:
    """Those of MIM and MMM-image that the checkpoint's record says were trained. Raises HeadMissingError for none."""
    heads = [head for head in ("mim", "mmm_image") if head in read_record(checkpoint).get("heads", [])]
    if not heads:
        raise HeadMissingError(f"{checkpoint} was trained without masked patches")
    return heads
