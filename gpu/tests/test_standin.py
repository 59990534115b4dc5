"""A stand-in is the same every time, heavy where the recipe says so, and a checkpoint like any other to transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import FlavaForPreTraining, FlavaModel

from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.flava_tensors import require_tensors
from flava_gpu.standin import Kind, write_standin
from flava_gpu.standin_tokenizer import standin_pieces, standin_tokenizer
from flava_gpu.standin_weights import StandinWeights, gain_of

TINY_SHA256 = "edbe5f79b00bce8836e2572259d8893409efe3e69057145767a8dc5741a7d2d8"
"""Of the tiny geometry with seed 0: a change to the recipe would change what every later measurement means."""


def test_the_recipe_is_frozen(tmp_path: Path) -> None:
    assert write_standin(tmp_path, "tiny", 0) == TINY_SHA256


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    assert write_standin(tmp_path, "tiny", 1) != TINY_SHA256


def test_the_emoji_geometry_is_that_of_the_trained_checkpoint(tmp_path: Path) -> None:
    write_standin(tmp_path, "emoji", 0, "pretraining")
    trained = CheckpointReader(Path(__file__).parents[2] / "models" / "flava-emoji" / "checkpoint")
    ours = CheckpointReader(tmp_path)
    assert {name: info.shape for name, info in ours.stored_infos().items()} == {
        name: info.shape for name, info in trained.stored_infos().items()
    }
    require_tensors(ours)


def test_weights_have_heavy_tails_and_their_gain() -> None:
    weights = StandinWeights(0)
    weight = weights.tensor("text_model.encoder.layer.3.output.dense.weight", (192, 768))
    ratios = weight.astype(np.float64) * np.sqrt(768) / 0.9
    assert 0.8 < ratios.std() < 1.3
    kurtosis = ((ratios - ratios.mean()) ** 4).mean() / ratios.var() ** 2
    assert kurtosis > 5  # 3 would be Gaussian
    assert gain_of("text_model.encoder.layer.3.attention.output.dense.weight") == 0.7
    assert gain_of("text_projection.weight") == 1.0


def test_six_norm_channels_and_four_residual_channels_stand_out() -> None:
    weights = StandinWeights(0)
    gamma = weights.tensor("image_model.encoder.layer.0.layernorm_before.weight", (768,))
    assert (gamma > 3.5).sum() in (5, 6)
    table = weights.tensor("image_model.embeddings.position_embeddings", (1, 197, 768))[0]
    channels = np.flatnonzero(np.abs(table[1:]).mean(axis=0) > 8)
    assert len(channels) == 4
    assert table[0, channels].max() > 80
    text = weights.tensor("text_model.embeddings.position_embeddings.weight", (512, 768))
    assert (np.abs(text[1:]).mean(axis=0) > 8).sum() == 4


@pytest.mark.parametrize("kind", ["model", "pretraining"])
def test_transformers_loads_it_whole_and_tells_inputs_apart(tmp_path: Path, kind: Kind) -> None:
    write_standin(tmp_path, "tiny", 0, kind)
    loaded: Any = (FlavaModel if kind == "model" else FlavaForPreTraining).from_pretrained(
        tmp_path, output_loading_info=True
    )
    model, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    flava = (model if kind == "model" else model.flava).eval()
    with torch.inference_mode():
        pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        output = flava.image_model(pixels)
        embeddings = torch.nn.functional.normalize(flava.image_projection(output.last_hidden_state[:, 0]))
    assert torch.isfinite(embeddings).all()
    assert (embeddings @ embeddings.T).fill_diagonal_(0).max() < 0.9999


def test_the_tokenizer_is_laid_out_as_bert_base_uncased() -> None:
    tokenizer = standin_tokenizer(30_522)
    assert tokenizer.get_vocab_size() == 30_522
    for token, index in {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}.items():
        assert tokenizer.token_to_id(token) == index
    encoding = tokenizer.encode("A Photo of a CAT!", "zz9")
    assert encoding.tokens == ["[CLS]", "a", "photo", "of", "a", "cat", "!", "[SEP]", "z", "##z", "##9", "[SEP]"]
    assert encoding.type_ids == [0] * 8 + [1] * 4


def test_its_pieces_are_distinct() -> None:
    assert len(set(standin_pieces(30_522))) == 30_522


def test_the_tokenizer_file_reads_back(tmp_path: Path) -> None:
    write_standin(tmp_path, "tiny", 0)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size() == 512
