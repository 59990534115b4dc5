"""Matching, masked words and masked patches: pairs are fair, a head that knows is found out, one that does not is at chance."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing

from flava_gpu.evaluation.emoji import Picture
from flava_gpu.evaluation.encoders import TorchEncoder
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
from flava_gpu.evaluation.masked_suite import MaskedPatches, find_codebook, mmm_text_score
from flava_gpu.evaluation.matching import match, matching_pairs, matching_score
from flava_gpu.evaluation.model import EvaluatedModel, load_checkpoint
from flava_gpu.evaluation.sources import Sources
from tests.tiny import write_codebook
from tests.tiny_checkpoint import WORDS, write_checkpoint

NAMES = ("red cat", "red dog", "small heart", "the rain", "small cat", "red heart")
SUBGROUPS = ("animal", "animal", "thing", "thing", "animal", "lonely")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    shown = []
    for index, (name, subgroup) in enumerate(zip(NAMES, SUBGROUPS, strict=True)):
        path = folder / f"{index}.png"
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
        shown.append(Picture(path, f"key {index}", "openmoji", "test-style", "train", name, "all", subgroup, (name,)))
    return shown


@pytest.fixture
def model(tmp_path: Path) -> EvaluatedModel:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    flava, tokenizer = load_checkpoint(checkpoint)
    special = [("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)  # type: ignore[assignment]
    model = EvaluatedModel(TorchEncoder(flava, tokenizer), checkpoint)
    model.__dict__ |= {"flava": flava, "tokenizer": tokenizer}  # the same objects, so that a test may change a head
    return model


def test_every_picture_is_asked_with_its_own_and_one_other_name(pictures: list[Picture]) -> None:
    pairs = matching_pairs(pictures, "random")
    assert Counter(pairs.targets.tolist()) == {0: 6, 1: 6}
    for target, text, concept in zip(pairs.targets, pairs.texts or [], pairs.groups or [], strict=True):
        own = next(picture.name for picture in pictures if picture.concept == concept)
        assert (text == own) == (target == 1)


def test_hard_negatives_are_of_the_same_subgroup_and_lonely_concepts_are_left_out(pictures: list[Picture]) -> None:
    pairs = matching_pairs(pictures, "same subgroup")
    subgroup: dict[str, str] = dict(zip(NAMES, SUBGROUPS, strict=True))
    of_concept = {picture.concept: picture.subgroup for picture in pictures}
    assert len(pairs) == 10
    assert all(
        subgroup[text] == of_concept[str(c)] for text, c in zip(pairs.texts or [], pairs.groups or [], strict=True)
    )
    with pytest.raises(EvaluationDataError, match="no picture has another name"):
        matching_pairs(pictures[-1:], "same subgroup")


class Knowing(torch.nn.Module):
    """Stands for the ITM head and answers what it was told, pair by pair."""

    def __init__(self, answers: np.ndarray) -> None:
        super().__init__()
        self.answers = torch.nn.functional.one_hot(torch.from_numpy(answers), 2).float()
        self.done = 0

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        self.done += len(states)
        return self.answers[self.done - len(states) : self.done]


def test_a_head_that_knows_every_match_scores_all_and_one_that_guesses_stands_at_chance(
    model: EvaluatedModel, pictures: list[Picture]
) -> None:
    pairs = matching_pairs([picture for picture in pictures for _ in range(40)], "random")
    model.flava.itm_head = Knowing(pairs.targets)  # type: ignore[assignment]
    knowing = match(model, pairs)
    assert knowing.outcome.accuracy.value == 1
    model.flava.itm_head = Knowing(np.random.default_rng(1).permutation(pairs.targets))  # type: ignore[assignment]
    guessing = match(model, pairs)
    assert abs(guessing.outcome.accuracy.value - 0.5) < 0.08  # 3.5 standard deviations of 480 pairs
    assert guessing.scores.shape == pairs.targets.shape


def test_the_score_of_matching_names_its_floor(model: EvaluatedModel, pictures: list[Picture]) -> None:
    score = matching_score(model, pictures, "random", "about")
    assert (score.n, score.floors[0].value, score.engine) == (12, 0.5, "torch")
    assert 0 <= score.details["auroc"] <= 1


def always(model: EvaluatedModel, head: str, token: int) -> None:
    """Makes a masked-prediction head say `token` whatever it sees."""
    decoder = getattr(model.flava, head).decoder
    with torch.no_grad():
        decoder.weight.zero_()
        decoder.bias.zero_()
        decoder.bias[token] = 9.0


def test_masked_words_are_found_by_a_head_that_knows_them_and_by_no_other(model: EvaluatedModel) -> None:
    cat = WORDS.index("cat")
    always(model, "mlm_head", cat)
    assert guess_words(model, ["cat cat cat"] * 20).hits.all()
    assert not guess_words(model, ["dog dog dog"] * 20).hits.any()
    mixed = guess_words(model, ["cat dog"] * 200)
    score = masked_score("MLM", "", mixed, [constant_floor("majority", mixed, cat)])
    assert score.got.value == score.floors[0].value  # it knows no more than what is frequent


def test_every_text_has_a_masked_word_and_what_is_masked_does_not_change(model: EvaluatedModel) -> None:
    texts = ["red cat in the rain", "dog", "small red heart"] * 30
    first, again = guess_words(model, texts), guess_words(model, texts)
    assert set(first.items.tolist()) == set(range(90))
    np.testing.assert_array_equal(first.places, again.places)
    assert set(first.targets.tolist()) <= set(range(5, len(WORDS)))  # never a special token


def test_the_blind_model_is_asked_for_the_same_words(model: EvaluatedModel, pictures: list[Picture]) -> None:
    seen = guess_caption_words(model, pictures, is_blind=False)
    blind = guess_caption_words(model, pictures, is_blind=True)
    np.testing.assert_array_equal(seen.targets, blind.targets)
    assert len(seen.targets) == len(pictures)
    always(model, "mmm_text_head", WORDS.index("red"))
    constant = guess_caption_words(model, pictures, is_blind=False)
    assert constant.hits.mean() == (constant.targets == WORDS.index("red")).mean()


def test_the_frequent_word_is_that_of_the_texts(model: EvaluatedModel) -> None:
    assert frequent_words(model, ["red cat", "red dog", "a small heart"]) == WORDS.index("red")


def test_masked_patches_are_the_codebooks_tokens_and_the_floors_know_places(
    model: EvaluatedModel, pictures: list[Picture], tmp_path: Path
) -> None:
    codebook = find_codebook(tmp_path / "checkpoint", write_codebook(tmp_path / "codebook"))
    token, of_place = frequent_tokens(codebook, pictures, model.patches_per_side)
    assert of_place.shape == (16,)
    alone = guess_patches(model, pictures, codebook)
    pairs = guess_patches_of_pairs(model, pictures, codebook, is_blind=False)
    blind = guess_patches_of_pairs(model, pictures, codebook, is_blind=True)
    for other in (pairs, blind):
        np.testing.assert_array_equal(alone.targets, other.targets)
        np.testing.assert_array_equal(alone.places, other.places)
    always(model, "mim_head", token)
    constant = guess_patches(model, pictures, codebook)
    assert constant.hits.mean() == constant_floor("majority", constant, token).value


def test_masked_scores_are_those_of_the_heads_that_were_trained(
    model: EvaluatedModel, pictures: list[Picture], tmp_path: Path
) -> None:
    in_all_styles = [*pictures, *(replace(picture, role="train-style") for picture in pictures)]
    sources = Sources(tmp_path)
    sources.__dict__["pictures"] = in_all_styles
    patches = MaskedPatches(model, sources, write_codebook(tmp_path / "codebook"))
    assert patches.mim_score().task == "MIM"
    (tmp_path / "checkpoint" / "training.json").write_text('{"heads": ["contrastive", "mmm_image"]}')
    score = patches.mmm_image_score()
    assert [floor.name for floor in score.floors] == ["majority", "majority of the place", "without the text"]
    with pytest.raises(HeadMissingError, match="trained without mim"):
        patches.mim_score()
    with pytest.raises(HeadMissingError, match="trained without mmm_text"):
        mmm_text_score(model, in_all_styles)
    with pytest.raises(HeadMissingError, match="trained without itm"):
        matching_score(model, pictures, "random", "about")


def test_a_checkpoint_without_a_codebook_says_so(model: EvaluatedModel, tmp_path: Path) -> None:
    with pytest.raises(HeadMissingError, match="holds no codebook"):
        find_codebook(tmp_path / "checkpoint", None)
    with pytest.raises(DataMissingError, match="nowhere has no"):
        find_codebook(tmp_path / "checkpoint", tmp_path / "nowhere")


def test_places_of_one_item_are_not_independent() -> None:
    hits = np.repeat(np.arange(50) % 2 == 0, 8).astype(int)
    items = np.repeat(np.arange(50), 8)
    guesses = Guesses(np.ones(400, int), hits, items, np.zeros(400, int))
    score = masked_score("MIM", "", guesses, [])
    assert score.got.high - score.got.low > 0.2
