"""Batches of pairs: distinct concepts, shares of kinds, mismatched captions, and nothing but the generator behind them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from flava_gpu.pair_sampling import CaptionsConfig, PairSampler, PicturesConfig
from flava_gpu.pairs import load_training_pairs
from tests.tiny import write_data

CAPTIONS = CaptionsConfig(name=0.75, template=0.05)


@pytest.fixture
def sampler(tmp_path: Path) -> PairSampler:
    pictures = PicturesConfig(skin=0.0, outlined=0.3, line=0.2, icon=0.1, others=0.25)
    return PairSampler(load_training_pairs(write_data(tmp_path)), CAPTIONS, pictures)


def test_a_batch_has_distinct_concepts_and_depends_on_its_generator_alone(sampler: PairSampler) -> None:
    first, again = sampler.draw(8, random.Random(5)), sampler.draw(8, random.Random(5))
    assert len(set(first.concepts)) == 8
    assert torch.equal(first.images, again.images)
    assert first.captions == again.captions
    assert sampler.draw(8, random.Random(6)).captions != first.captions


def test_a_share_of_the_batch_is_icons_that_are_no_emoji(sampler: PairSampler) -> None:
    concepts = sampler.draw(8, random.Random(1)).concepts
    assert sum(concept.startswith("icon:") for concept in concepts) == 2


def test_pictures_are_of_each_kind_in_its_share_within_four_points(sampler: PairSampler) -> None:
    rng = random.Random(2)
    # Concept "00" alone has an icon; the others draw a plain picture in its stead.
    kinds = [sampler.pairs.kinds[sampler._picture("00", rng)] for _ in range(2000)]
    shares = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    assert shares == pytest.approx({"plain": 0.4, "outlined": 0.3, "line": 0.2, "icon": 0.1}, abs=0.04)


def test_a_hard_mismatch_is_another_concept_of_the_same_subgroup(sampler: PairSampler) -> None:
    rng = random.Random(3)
    for concept in sampler.emoji:
        other = sampler.mismatched(concept, 1.0, rng)
        assert other != concept
        assert sampler.pairs.subgroups[other] == sampler.pairs.subgroups[concept]


def test_a_concept_whose_name_the_picture_bears_too_is_no_mismatch(sampler: PairSampler) -> None:
    sampler.pairs.captions["00"].append("Bar")  # the name of "01", as "dog" is a keyword of the dog's face
    rng = random.Random(7)
    for hard in (0.0, 1.0):
        others = {sampler.mismatched("00", hard, rng) for _ in range(200)}
        assert others
        assert "01" not in others


def test_an_easy_mismatch_is_any_other_concept(sampler: PairSampler) -> None:
    rng = random.Random(4)
    others = {sampler.mismatched("00", 0.0, rng) for _ in range(300)}
    assert others == set(sampler.emoji) - {"00"}


def test_a_mismatched_caption_has_no_keyword_of_the_picture_s_own_concept(sampler: PairSampler) -> None:
    rng = random.Random(6)
    own = sampler.words("00")
    assert "shape" in own
    captions = [sampler.caption("01", rng, other_than=own) for _ in range(300)]
    assert not [caption for caption in captions if "shape" in caption]
    assert any("bar thing" in caption for caption in captions)
