"""The losses equal transformers' own FlavaForPreTraining on the same inputs."""

from __future__ import annotations

import pytest
import torch
from transformers import FlavaForPreTraining

from flava_gpu.batching import IGNORE_INDEX
from flava_gpu.objectives import (
    contrastive_loss,
    image_embedding,
    image_states,
    mlm_loss,
    multimodal_losses,
    text_embedding,
    text_states,
)
from flava_gpu.training.config import ModelConfig

GEOMETRY = ModelConfig(
    image_size=16,
    patch_size=8,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    multimodal_layers=2,
    vocab_size=50,
    max_text_length=12,
    image_vocab_size=8,
    codebook_hidden_size=4,
)


@pytest.fixture(scope="module")
def model() -> FlavaForPreTraining:
    torch.manual_seed(0)
    model = FlavaForPreTraining(GEOMETRY.to_flava())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(5, 50, (6, 9), generator=generator)
    attention_mask = torch.ones(6, 9, dtype=torch.long)
    attention_mask[3, 6:] = 0
    input_ids[3, 6:] = 0
    labels = torch.where(torch.rand((6, 9), generator=generator) < 0.3, input_ids, IGNORE_INDEX)
    labels[attention_mask == 0] = IGNORE_INDEX
    labels[:, 1] = input_ids[:, 1]
    return {
        "pixel_values": torch.randn((6, 3, 16, 16), generator=generator),
        "input_ids": input_ids,
        "input_ids_masked": torch.where(labels != IGNORE_INDEX, 4, input_ids),
        "attention_mask": attention_mask,
        "mlm_labels": labels,
        "itm_labels": torch.tensor([1, 0, 1, 1, 0, 1]),
    }


def unmasked_patches() -> dict[str, torch.Tensor]:
    """No patch masked: transformers insists on patch labels when it computes losses and there is no codebook."""
    return {"mim_labels": torch.zeros(6, 2, 2).long(), "bool_masked_pos": torch.zeros(6, 2, 2).long()}


def test_contrastive_loss_equals_transformers_to_1e_5(model: FlavaForPreTraining, inputs: dict) -> None:
    output = model(
        input_ids=inputs["input_ids"],
        input_ids_masked=inputs["input_ids"],
        pixel_values=inputs["pixel_values"],
        attention_mask=inputs["attention_mask"],
        **unmasked_patches(),
        return_loss=True,
    )
    image = image_embedding(model, image_states(model, inputs["pixel_values"]))
    text = text_embedding(model, text_states(model, inputs["input_ids"], inputs["attention_mask"]))
    loss = contrastive_loss(model, image, text)
    assert loss.item() == pytest.approx(output.loss_info.global_contrastive.item(), abs=1e-5)


def test_the_contrastive_loss_keeps_f32_s_precision_under_autocast(model: FlavaForPreTraining) -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(64, 32, generator=generator), dim=1) for _ in range(2))
    loss = contrastive_loss(model, image, text)
    with torch.autocast("cpu", torch.bfloat16):
        assert contrastive_loss(model, image, text).item() == pytest.approx(loss.item(), rel=1e-6)


def test_mmm_text_and_itm_losses_equal_transformers_to_1e_5(model: FlavaForPreTraining, inputs: dict) -> None:
    labels = inputs["mlm_labels"].clone()  # transformers changes them in place
    output = model(**{**inputs, "mlm_labels": labels}, **unmasked_patches(), return_loss=True)
    image = image_states(model, inputs["pixel_values"])
    text = text_states(model, inputs["input_ids_masked"], inputs["attention_mask"])
    losses = multimodal_losses(model, image, text, inputs["attention_mask"], inputs["mlm_labels"], inputs["itm_labels"])
    assert losses["itm"].item() == pytest.approx(output.loss_info.itm.item(), abs=1e-5)
    assert losses["mmm_text"].item() == pytest.approx(output.loss_info.mmm_text.item(), abs=1e-5)


def test_mlm_loss_equals_transformers_to_1e_5(model: FlavaForPreTraining, inputs: dict) -> None:
    output = model(
        input_ids=inputs["input_ids"],
        input_ids_masked=inputs["input_ids_masked"],
        attention_mask=inputs["attention_mask"],
        mlm_labels=inputs["mlm_labels"].clone(),
        return_loss=True,
    )
    loss = mlm_loss(model, inputs["input_ids_masked"], inputs["attention_mask"], inputs["mlm_labels"])
    assert loss.item() == pytest.approx(output.loss_info.mlm.item(), abs=1e-5)


def test_without_a_matched_pair_all_pairs_count_as_matched_as_in_transformers(
    model: FlavaForPreTraining, inputs: dict
) -> None:
    mismatched = torch.zeros(6, dtype=torch.long)
    labels = inputs["mlm_labels"].clone()
    given = {**inputs, "mlm_labels": labels, "itm_labels": mismatched}
    output = model(**given, **unmasked_patches(), return_loss=True)
    image = image_states(model, inputs["pixel_values"])
    text = text_states(model, inputs["input_ids_masked"], inputs["attention_mask"])
    losses = multimodal_losses(model, image, text, inputs["attention_mask"], inputs["mlm_labels"], mismatched)
    assert losses["mmm_text"].item() == pytest.approx(output.loss_info.mmm_text.item(), abs=1e-5)


def test_keeping_every_patch_in_any_order_changes_nothing_beyond_1e_5(model: FlavaForPreTraining, inputs: dict) -> None:
    order = torch.tensor([[2, 0, 3, 1]]).expand(6, -1)
    some = image_embedding(model, image_states(model, inputs["pixel_values"], order))
    every = image_embedding(model, image_states(model, inputs["pixel_values"]))
    assert (some - every).abs().max() < 1e-5


def test_gradients_of_the_contrastive_loss_reach_both_encoders(model: FlavaForPreTraining, inputs: dict) -> None:
    model.zero_grad()
    image = image_embedding(model, image_states(model, inputs["pixel_values"]))
    text = text_embedding(model, text_states(model, inputs["input_ids"], inputs["attention_mask"]))
    contrastive_loss(model, image, text).backward()
    assert model.flava.image_model.embeddings.patch_embeddings.projection.weight.grad is not None
    assert model.flava.text_model.embeddings.word_embeddings.weight.grad is not None
    assert model.flava.logit_scale.grad is not None
