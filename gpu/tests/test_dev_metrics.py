"""What training watches on the dev splits is what evaluation says of the same model and pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining

from flava_gpu.evaluation.emoji import Picture, of, read_pictures
from flava_gpu.evaluation.emoji_retrieval import name_task
from flava_gpu.evaluation.encoders import TorchEncoder
from flava_gpu.evaluation.masked import guess_caption_words
from flava_gpu.evaluation.matching import match, matching_pairs
from flava_gpu.evaluation.model import EvaluatedModel, load_checkpoint
from flava_gpu.evaluation.retrieval import DIRECTIONS
from flava_gpu.evaluation.retrieval_suite import rank_model
from flava_gpu.fusion_metrics import evaluate_fusion
from flava_gpu.pairs import Pairs, load_pairs
from flava_gpu.retrieval import evaluate_pairs
from flava_gpu.vocabulary import train_tokenizer
from tests.tiny import SHAPES, write_data
from tests.tiny_checkpoint import write_checkpoint

SIZE, MAX_LENGTH = 16, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dev")
    write_data(folder / "data")
    write_checkpoint(folder / "checkpoint")
    train_tokenizer([f"{name} thing" for name in SHAPES], 40).save(str(folder / "checkpoint" / "tokenizer.json"))
    return folder


@pytest.fixture
def model(folder: Path) -> tuple[FlavaForPreTraining, Tokenizer]:
    return load_checkpoint(folder / "checkpoint")


@pytest.fixture
def evaluated(folder: Path, model: tuple[FlavaForPreTraining, Tokenizer]) -> EvaluatedModel:
    return EvaluatedModel(TorchEncoder(*model, MAX_LENGTH), folder / "checkpoint")


@pytest.fixture
def pairs(folder: Path) -> Pairs:
    return load_pairs(folder / "data", "dev-style", "train")


@pytest.fixture
def pictures(folder: Path) -> list[Picture]:
    return read_pictures(folder / "data")


def test_recalls_are_those_of_the_retrieval_suite(
    model: tuple[FlavaForPreTraining, Tokenizer], evaluated: EvaluatedModel, pairs: Pairs, pictures: list[Picture]
) -> None:
    recalls = evaluate_pairs(*model, pairs, SIZE, MAX_LENGTH)
    task = name_task("dev", pictures)
    expected = {
        f"{direction}_r{k}": 100 * rank_model(evaluated, task, direction).recall(k).value
        for direction in DIRECTIONS
        for k in (1, 5, 10)
    }
    assert recalls == pytest.approx(expected)
    assert 0 < recalls["i2t_r5"] < 100


def test_a_name_is_looked_for_among_the_pictures_of_one_style(
    model: tuple[FlavaForPreTraining, Tokenizer], pairs: Pairs
) -> None:
    count = len(pairs.images)
    both = replace(
        pairs,
        images=torch.cat([pairs.images, pairs.images]),
        concepts=pairs.concepts * 2,
        kinds=pairs.kinds * 2,
        styles=["ink"] * count + ["oil"] * count,
    )
    once = evaluate_pairs(*model, pairs, SIZE, MAX_LENGTH)
    assert once["t2i_r5"] > 0
    assert evaluate_pairs(*model, both, SIZE, MAX_LENGTH) == pytest.approx(once)


def test_matching_and_masked_words_are_those_of_their_suites(
    model: tuple[FlavaForPreTraining, Tokenizer], evaluated: EvaluatedModel, pairs: Pairs, pictures: list[Picture]
) -> None:
    shown = of(pictures, "dev-style", "train")
    matched = match(evaluated, matching_pairs(shown, "random")).outcome
    words = guess_caption_words(evaluated, shown, is_blind=False)
    assert evaluate_fusion(*model, pairs, SIZE, MAX_LENGTH) == pytest.approx(
        {"itm_accuracy": 100 * matched.accuracy.value, "mmm_text_accuracy": 100 * words.hits.mean()}
    )
    assert len(set(matched.predicted.tolist())) == 2
