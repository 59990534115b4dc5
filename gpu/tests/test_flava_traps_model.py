"""Ways to get FLAVA's model wrong in training code: padding, norms, ties, the codebook, patch masks, feature methods.

A test whose name begins with `transformers` pins a behaviour of that library that our code has to work around.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import FlavaForPreTraining, FlavaImageCodebook, FlavaModel
from transformers.models.flava.image_processing_pil_flava import FlavaMaskingGenerator

from flava_gpu.block_masking import BlockMasking
from flava_gpu.objectives import fused_states, image_states, text_states
from flava_gpu.training.config import ConfigError, InitConfig, OptimizationConfig
from flava_gpu.training.initialization import initialize
from flava_gpu.training.optimizer import build_optimizer
from tests.flava_case import BATCH, GEOMETRY, PATCHES, WORDS, Case, make_case, make_model

TOLERANCE = 1e-5  # of states of order 1 through the whole model


@pytest.fixture(scope="module")
def model() -> FlavaForPreTraining:
    return make_model()


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case()


@pytest.fixture(scope="module")
def saved(model: FlavaForPreTraining, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model.save_pretrained(folder)
    return folder


# Padding.


def test_padding_changes_neither_the_text_nor_the_fused_states(model: FlavaForPreTraining, case: Case) -> None:
    """The fourth text has six words and three places of padding."""
    image = image_states(model, case.pixel_values[3:4])
    padded = text_states(model, case.input_ids[3:4], case.attention_mask[3:4])
    short = text_states(model, case.input_ids[3:4, :6], case.attention_mask[3:4, :6])
    assert torch.allclose(padded[:, :6], short, atol=TOLERANCE)
    fused = fused_states(model, image, padded, case.attention_mask[3:4])
    alone = fused_states(model, image, short, case.attention_mask[3:4, :6])
    assert torch.allclose(fused[:, : 2 + PATCHES + 6], alone, atol=TOLERANCE)


def test_transformers_attends_to_padding_without_a_mask(model: FlavaForPreTraining, case: Case) -> None:
    unmasked = model.flava.text_model(case.input_ids[3:4]).last_hidden_state
    masked = model.flava.text_model(case.input_ids[3:4], attention_mask=case.attention_mask[3:4]).last_hidden_state
    assert (unmasked - masked)[:, :6].abs().max() > 1e-2


def test_a_text_that_is_all_padding_gives_no_nan(model: FlavaForPreTraining, case: Case) -> None:
    states = text_states(model, case.input_ids[:1], torch.zeros_like(case.attention_mask[:1]))
    assert torch.isfinite(states).all()


def test_transformers_takes_no_image_mask_of_the_shape_it_documents(model: FlavaForPreTraining, case: Case) -> None:
    """Ours has no such argument: the fused mask is of words alone, and patches always count."""
    with pytest.raises(RuntimeError):
        model.flava.image_model(case.pixel_values, attention_mask=torch.ones(BATCH, PATCHES))


# Norms and projections.


def test_fused_states_equal_transformers_and_come_from_before_the_final_norms(
    model: FlavaForPreTraining, case: Case
) -> None:
    output = model.flava(
        input_ids=case.input_ids_masked,
        pixel_values=case.pixel_values,
        attention_mask=case.attention_mask,
        bool_masked_pos=case.bool_masked_pos,
    )
    image = image_states(model, case.pixel_values, bool_masked_pos=case.bool_masked_pos)
    text = text_states(model, case.input_ids_masked, case.attention_mask)
    assert torch.allclose(
        fused_states(model, image, text, case.attention_mask), output.multimodal_embeddings, atol=1e-5
    )
    norms = model.flava.image_model.layernorm(image), model.flava.text_model.layernorm(text)
    assert torch.allclose(norms[0], output.image_embeddings, atol=TOLERANCE)
    wrong = fused_states(model, *norms, case.attention_mask)
    assert (wrong - output.multimodal_embeddings).abs().max() > 1e-2


def test_patch_masks_of_integers_and_booleans_in_grids_and_rows_are_the_same(
    model: FlavaForPreTraining, case: Case
) -> None:
    grid = case.bool_masked_pos
    states = [
        image_states(model, case.pixel_values, bool_masked_pos=mask) for mask in (grid, grid.bool(), grid.flatten(1))
    ]
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


# Ties and checkpoints.


@pytest.mark.parametrize("name", ["mim_head", "mlm_head", "mmm_image_head", "mmm_text_head"])
def test_a_heads_bias_is_its_decoders_and_its_weights_are_its_own(
    model: FlavaForPreTraining, saved: Path, name: str
) -> None:
    head = getattr(model, name)
    assert head.bias is head.decoder.bias
    assert head.decoder.weight is not model.flava.text_model.embeddings.word_embeddings.weight
    with safe_open(saved / "model.safetensors", "pt") as file:
        assert f"{name}.decoder.bias" in file.keys()  # noqa: SIM118
        assert f"{name}.bias" not in file.keys()  # noqa: SIM118
    others = [m for m in ("mim_head", "mlm_head", "mmm_image_head", "mmm_text_head") if m != name]
    assert all(getattr(model, other).transform.dense.weight is not head.transform.dense.weight for other in others)


def test_initialization_from_a_checkpoint_keeps_the_tie_and_fills_both_names(
    model: FlavaForPreTraining, saved: Path
) -> None:
    other = FlavaForPreTraining(GEOMETRY.to_flava())
    initialize(other, (InitConfig(saved, include=("mlm_head.",)),))
    assert torch.equal(other.mlm_head.bias, model.mlm_head.bias)
    assert other.mlm_head.bias is other.mlm_head.decoder.bias
    assert not torch.equal(other.mim_head.decoder.weight, model.mim_head.decoder.weight)


def test_a_tied_bias_is_stepped_once(model: FlavaForPreTraining) -> None:
    optimization = OptimizationConfig(1, 1, 1e-3, 1, 0.1, (0.9, 0.99), 1.0, "f32", 1)
    optimizer = build_optimizer(model, optimization)
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(held) == len(set(held))
    assert id(model.mlm_head.decoder.bias) in held


def test_transformers_fills_heads_at_random_when_a_file_has_the_backbone_alone(
    model: FlavaForPreTraining, tmp_path: Path
) -> None:
    """`init` of ours copies what is there and fails where nothing is."""
    model.flava.save_pretrained(tmp_path)
    found: Any = FlavaForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    loaded, info = found
    assert torch.equal(loaded.flava.logit_scale, model.flava.logit_scale)
    assert any(key.startswith("itm_head.") for key in info["missing_keys"])
    with pytest.raises(ConfigError, match="no tensor of this model begins with"):
        initialize(make_model(), (InitConfig(tmp_path, include=("itm_head.",)),))


def test_the_contrastive_parts_are_no_logits_of_flava_model(model: FlavaForPreTraining, case: Case) -> None:
    assert isinstance(model.flava, FlavaModel)
    output = model.flava(pixel_values=case.pixel_values, input_ids=case.input_ids)
    assert not any("contrastive" in name or "logits" in name for name in output)


# The codebook.


def test_transformers_loads_no_codebook_tensor_from_a_whole_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run's codebook comes from a folder of its own."""
    config = GEOMETRY.to_flava()
    config.init_codebook = True
    torch.manual_seed(1)
    whole: Any = FlavaForPreTraining(config)
    whole.save_pretrained(tmp_path)
    with caplog.at_level(logging.ERROR):
        loaded: Any = FlavaImageCodebook.from_pretrained(tmp_path, output_loading_info=True)
    codebook, info = loaded
    assert len(info["missing_keys"]) == len(codebook.state_dict())
    assert not torch.equal(codebook.blocks.input.weight, whole.image_codebook.blocks.input.weight)


def test_a_frozen_codebook_is_in_no_optimizer_and_stays_out_of_training(case: Case) -> None:
    config = GEOMETRY.to_flava()
    config.init_codebook = True
    model: Any = FlavaForPreTraining(config).train()
    optimizer = build_optimizer(model, OptimizationConfig(1, 1, 1e-3, 1, 0.1, (0.9, 0.99), 1.0, "f32", 1))
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not held & {id(parameter) for parameter in model.image_codebook.parameters()}
    assert len(held) == len([p for n, p in model.named_parameters() if not n.startswith("image_codebook.")])
    pixels = torch.rand(2, 3, 32, 32)
    tokens = model.image_codebook.get_codebook_indices(pixels)
    assert tokens.shape == (2, 4, 4)  # an eighth of the side: pictures of the patches' grid times eight
    assert torch.equal(tokens, model.eval().image_codebook.get_codebook_indices(pixels))


# Block masks.


def test_block_masks_are_transformers_given_the_same_random_stream() -> None:
    random.seed(1234)
    theirs = [FlavaMaskingGenerator()() for _ in range(20)]
    ours = BlockMasking(14, 14, 75, 16).draw(20, random.Random(1234))
    assert [int(mask.sum()) for mask in ours[:1]] == [75]
    for mask, expected in zip(ours, theirs, strict=True):
        assert torch.equal(mask.bool(), torch.as_tensor(expected).bool())


def test_the_number_of_masked_patches_is_a_bound_and_no_block_spans_the_grid() -> None:
    masks = BlockMasking(14, 14, 75, 16).draw(300, random.Random(0))
    counts = masks.flatten(1).sum(dim=1)
    assert counts.max() == 75
    assert counts.min() < 75
    assert 0.55 < (counts == 75).double().mean() < 0.8  # 68 % of 3,000 draws
    single = BlockMasking(4, 4, 15, 3).draw(50, random.Random(0))
    assert single.flatten(1).sum(dim=1).max() < 16


def test_masks_come_from_the_generator_alone_and_not_from_the_global_one() -> None:
    state = random.getstate()
    first = BlockMasking.for_grid(8).draw(3, random.Random(5))
    assert random.getstate() == state
    random.seed(99)
    assert torch.equal(first, BlockMasking.for_grid(8).draw(3, random.Random(5)))
    assert not torch.equal(first[0], first[1])  # each picture's on its own


def test_words_stand_at_the_end_of_the_fused_sequence(model: FlavaForPreTraining, case: Case) -> None:
    image, text = image_states(model, case.pixel_values), text_states(model, case.input_ids, case.attention_mask)
    assert fused_states(model, image, text, case.attention_mask).shape == (BATCH, 1 + 1 + PATCHES + WORDS, 16)
