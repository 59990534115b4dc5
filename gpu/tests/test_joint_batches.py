"""Batches of joint training over ranks: one data set an update on all of them, and each item on one rank."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import Image

from flava_gpu.batching import IGNORE_INDEX, to_device
from flava_gpu.distributed import Ranks
from flava_gpu.joint_batches import ImagesBatch, JointBatches, PairsBatch, WordsBatch
from flava_gpu.joint_config import JointConfig, check_config
from flava_gpu.shards.index import index_shards
from flava_gpu.shards.writer import SampleFiles, write_shards
from flava_gpu.training.config import ConfigError, load_config
from flava_gpu.vocabulary import train_tokenizer
from tests.tiny import joint_batches, joint_config, training_texts, write_codebook, write_config, write_data

UPDATES = 400


@pytest.fixture(scope="module")
def batches_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, JointBatches]:
    """Of one process, and of each of two."""
    folder = tmp_path_factory.mktemp("joint")
    raw = joint_config(write_data(folder / "data"), folder, write_codebook(folder / "codebook"), UPDATES)
    raw["datasets"] = {"pairs": 0.7, "images": 0.15, "texts": 0.15}
    config = load_config(JointConfig, write_config(folder / "joint.yaml", raw))
    tokenizer = train_tokenizer(training_texts(config.data), config.model.vocab_size)
    of = {"alone": Ranks(), "first": Ranks(0, 2), "second": Ranks(1, 2)}
    return {name: joint_batches(config, tokenizer, ranks) for name, ranks in of.items()}


def first_update(batches: JointBatches, name: str, is_fused: bool = False) -> int:
    for update in range(UPDATES):
        if batches.dataset_of(update) == name:
            drawn = batches.draw(update).batch
            if not is_fused or (isinstance(drawn, PairsBatch) and drawn.fused is not None):
                return update
    raise AssertionError(f"no update on {name}")


def test_every_rank_draws_the_same_data_set_at_about_its_probability(batches_of: dict[str, JointBatches]) -> None:
    names = [[batches.dataset_of(update) for update in range(UPDATES)] for batches in batches_of.values()]
    assert names[0] == names[1] == names[2]
    assert names[0].count("pairs") / UPDATES == pytest.approx(0.7, abs=0.05)  # of 400: a standard deviation is 0.023
    assert names[0].count("images") / UPDATES == pytest.approx(0.15, abs=0.05)


@pytest.mark.parametrize("name", ["pairs", "images", "texts"])
def test_ranks_share_the_items_that_one_process_would_have(batches_of: dict[str, JointBatches], name: str) -> None:
    update = first_update(batches_of["alone"], name)
    alone, first, second = (batches_of[key].draw(update).items for key in ("alone", "first", "second"))
    assert first + second == alone
    assert len(first) == len(second)


def test_ranks_agree_on_whether_a_batch_is_fused(batches_of: dict[str, JointBatches]) -> None:
    for update in range(60):
        drawn = [batches_of[key].draw(update).batch for key in ("first", "second")]
        if isinstance(drawn[0], PairsBatch):
            assert (drawn[0].fused is None) == (cast(PairsBatch, drawn[1]).fused is None)


def test_ranks_mask_and_augment_each_in_their_own_way(batches_of: dict[str, JointBatches]) -> None:
    update = first_update(batches_of["alone"], "images")
    first, second = (cast(ImagesBatch, batches_of[key].draw(update).batch) for key in ("first", "second"))
    assert first.bool_masked_pos is not None
    assert second.bool_masked_pos is not None
    assert not torch.equal(first.bool_masked_pos, second.bool_masked_pos)
    assert not torch.equal(first.pixel_values, second.pixel_values)


def test_a_batch_is_a_function_of_the_update_alone(batches_of: dict[str, JointBatches]) -> None:
    batches = batches_of["first"]
    update = first_update(batches, "texts")
    drawn = cast(WordsBatch, batches.draw(update).batch)
    for other in range(5):
        batches.draw(other)
    again = cast(WordsBatch, batches.draw(update).batch)
    assert torch.equal(drawn.masked_ids, again.masked_ids)
    assert torch.equal(drawn.mlm_labels, again.mlm_labels)


def test_a_fused_batch_has_its_share_of_mismatches_and_patch_labels_where_patches_are_masked(
    batches_of: dict[str, JointBatches],
) -> None:
    update = first_update(batches_of["alone"], "pairs", is_fused=True)
    fused = cast(PairsBatch, batches_of["alone"].draw(update).batch).fused
    assert fused is not None
    assert fused.itm_labels.tolist().count(0) == len(fused.itm_labels) // 2
    labels, masked = fused.image.mim_labels, fused.image.bool_masked_pos
    assert labels is not None
    assert masked is not None
    assert torch.equal(labels != IGNORE_INDEX, masked.flatten(1).bool())
    assert 0 < masked.sum() < masked.numel()


def test_a_patch_of_16_pixels_has_one_visual_token_too(batches_of: dict[str, JointBatches]) -> None:
    wide = replace(batches_of["alone"], model=replace(batches_of["alone"].model, image_size=32, patch_size=16))
    batch = cast(ImagesBatch, wide.draw(first_update(wide, "images")).batch)
    assert batch.codebook_tokens is not None
    assert batch.bool_masked_pos is not None
    assert batch.pixel_values.shape[-1] == 32
    assert batch.codebook_tokens.shape == batch.bool_masked_pos.shape == (len(batch.pixel_values), 2, 2)


def test_pairs_are_not_masked_for_a_multimodal_encoder_that_has_no_loss(batches_of: dict[str, JointBatches]) -> None:
    unfused = replace(batches_of["alone"], fuses=False)
    updates = [update for update in range(60) if unfused.dataset_of(update) == "pairs"]
    assert all(cast(PairsBatch, unfused.draw(update).batch).fused is None for update in updates)


@pytest.mark.parametrize("name", ["pairs", "images", "texts"])
def test_a_batch_goes_to_a_device_with_all_of_its_tensors(batches_of: dict[str, JointBatches], name: str) -> None:
    """The device without values stands for a GPU: an operation on it and a tensor that stayed behind would fail."""
    batch = batches_of["alone"].draw(first_update(batches_of["alone"], name, is_fused=name == "pairs")).batch
    moved = to_device(batch, "meta")
    assert type(moved) is type(batch)
    assert tensors_in(moved)
    assert {tensor.device.type for tensor in tensors_in(moved)} == {"meta"}
    assert {tensor.device.type for tensor in tensors_in(batch)} == {"cpu"}


def tensors_in(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [] if value is None else [tensor for part in vars(value).values() for tensor in tensors_in(part)]


def test_a_streamed_caption_that_fits_the_picture_is_no_mismatch(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    files = {"png": buffer.getvalue(), "json": json.dumps({"captions": ["disc", "Ring", "ring"]}).encode()}
    write_shards((SampleFiles(f"{number:03}", files) for number in range(40)), tmp_path / "shards", shard_samples=20)
    index_shards(tmp_path / "shards")
    raw = joint_config(write_data(tmp_path / "data"), tmp_path, write_codebook(tmp_path / "codebook"), UPDATES)
    raw["shards"] = {"folder": str(tmp_path / "shards"), "on_bad": "error", "workers": 0}
    raw["batches"] |= {"itm_hard": 0.0, "itm_mismatch": 1.0}
    config = load_config(JointConfig, write_config(tmp_path / "joint.yaml", raw))
    batches = joint_batches(config, train_tokenizer(training_texts(config.data), config.model.vocab_size))
    drawn = cast(PairsBatch, batches.draw(first_update(batches, "pairs", is_fused=True)).batch)
    assert drawn.fused is not None
    assert drawn.fused.itm_labels.all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimization": {"batch_size": 7}}, r"optimization\.batch_size: 7 is no multiple of the 2 processes"),
        ({"batches": {"texts": 5}}, r"batches\.texts: 5 is no multiple of the 2 processes"),
        (
            {"shards": {"folder": "none", "on_bad": "error", "workers": 0}},
            r"batches\.itm_hard: shards name no subgroups",
        ),
    ],
)
def test_a_configuration_that_does_not_suit_processes_or_shards_names_the_key(
    tmp_path: Path, change: dict[str, dict[str, Any]], message: str
) -> None:
    raw = joint_config(tmp_path, tmp_path, tmp_path) | {"tokenizer": None}
    for part, values in change.items():
        raw[part] = (raw.get(part) or {}) | values
    config = load_config(JointConfig, write_config(tmp_path / "joint.yaml", raw))
    with pytest.raises(ConfigError, match=message):
        check_config(config, Ranks(0, 2))
