"""Ways to get FLAVA's objectives wrong: our losses equal transformers' where it is right, and are guarded where it is not.

A test whose name begins with `transformers` pins a defect of that library: when it fails, the guard it names can go.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
import torch.nn.functional as F
from torch import Tensor
from transformers import FlavaForPreTraining

from flava_gpu.batching import IGNORE_INDEX, TextBatch, mask_tokens
from flava_gpu.distributed import Ranks, _Gather
from flava_gpu.joint_batches import FusedBatch, ImagesBatch, PairsBatch, WordsBatch
from flava_gpu.joint_objectives import FlavaObjectives, WeightsConfig
from flava_gpu.objectives import (
    LOGIT_SCALE_RANGE,
    contrastive_loss,
    fused_states,
    image_embedding,
    image_states,
    mim_loss,
    mlm_loss,
    multimodal_losses,
    patch_labels,
    text_embedding,
    text_states,
)
from tests.flava_case import BATCH, PATCHES, SIDE, WORDS, Case, make_case, make_model

TOLERANCE = 1e-6
ALL = WeightsConfig(contrastive=1.0, itm=1.0, mmm_text=1.0, mmm_image=1.0, mim=1.0, mlm=1.0)
WORD_INPUTS = ("input_ids", "input_ids_masked", "attention_mask", "mlm_labels")
IMAGE_INPUTS = ("pixel_values", "mim_labels", "bool_masked_pos")


@pytest.fixture(scope="module")
def model() -> FlavaForPreTraining:
    return make_model()


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case()


def fused_losses(model: FlavaForPreTraining, case: Case) -> dict[str, Tensor]:
    return multimodal_losses(
        model,
        image_states(model, case.pixel_values, bool_masked_pos=case.bool_masked_pos),
        text_states(model, case.input_ids_masked, case.attention_mask),
        case.attention_mask,
        case.mlm_labels,
        case.itm_labels,
        patch_labels(case.bool_masked_pos, case.mim_labels),
    )


def embeddings(model: FlavaForPreTraining, case: Case) -> tuple[Tensor, Tensor]:
    image = image_embedding(model, image_states(model, case.pixel_values))
    return image, text_embedding(model, text_states(model, case.input_ids, case.attention_mask))


# Our losses equal transformers'.


def test_mim_equals_transformers_to_1e_6(model: FlavaForPreTraining, case: Case) -> None:
    expected = model(**case.for_transformers(*IMAGE_INPUTS)).loss_info.mim
    assert mim_loss(model, case.pixel_values, case.bool_masked_pos, case.mim_labels).item() == pytest.approx(
        expected.item(), abs=TOLERANCE
    )


def test_mlm_equals_transformers_to_1e_6(model: FlavaForPreTraining, case: Case) -> None:
    expected = model(**case.for_transformers(*WORD_INPUTS)).loss_info.mlm
    found = mlm_loss(model, case.input_ids_masked, case.attention_mask, case.mlm_labels)
    assert found.item() == pytest.approx(expected.item(), abs=TOLERANCE)


@pytest.mark.parametrize("name", ["itm", "mmm_text", "mmm_image"])
@pytest.mark.parametrize("matches", [[1, 0, 1, 1, 0, 1], [1] * BATCH, [0] * BATCH], ids=["some", "all", "none"])
def test_multimodal_losses_equal_transformers_to_1e_6(
    model: FlavaForPreTraining, case: Case, name: str, matches: list[int]
) -> None:
    case = case.but(itm_labels=torch.tensor(matches))
    expected = model(**case.for_transformers()).loss_info[name]
    assert fused_losses(model, case)[name].item() == pytest.approx(expected.item(), abs=TOLERANCE)


def test_the_contrastive_loss_equals_transformers_to_1e_6(model: FlavaForPreTraining, case: Case) -> None:
    expected = model(**case.but(itm_labels=torch.ones(BATCH).long()).for_transformers()).loss_info.global_contrastive
    assert contrastive_loss(model, *embeddings(model, case)).item() == pytest.approx(expected.item(), abs=TOLERANCE)


def test_the_sum_of_a_pairs_batch_equals_transformers_total_to_1e_5(model: FlavaForPreTraining, case: Case) -> None:
    case = case.but(itm_labels=torch.ones(BATCH).long())
    total = FlavaObjectives(model, ALL, Ranks())(pairs_batch(case))["loss"]
    assert total.item() == pytest.approx(model(**case.for_transformers()).loss.item(), abs=1e-5)  # of six losses


def pairs_batch(case: Case) -> PairsBatch:
    fused = FusedBatch(
        ImagesBatch(case.pixel_values, case.bool_masked_pos, case.mim_labels),
        WordsBatch(case.input_ids_masked, case.attention_mask, case.mlm_labels),
        case.itm_labels,
    )
    return PairsBatch(case.pixel_values, None, TextBatch(case.input_ids, case.attention_mask), fused)


# Labels.


def test_transformers_changes_patch_labels_in_place(model: FlavaForPreTraining, case: Case) -> None:
    inputs = case.for_transformers(*IMAGE_INPUTS)
    model(**inputs)
    assert (inputs["mim_labels"] == IGNORE_INDEX).any()


def test_our_losses_leave_every_input_as_it_was(model: FlavaForPreTraining, case: Case) -> None:
    before = case.for_transformers()
    mim_loss(model, case.pixel_values, case.bool_masked_pos, case.mim_labels)
    mlm_loss(model, case.input_ids_masked, case.attention_mask, case.mlm_labels)
    fused_losses(model, case)
    for name, tensor in before.items():
        assert torch.equal(getattr(case, name), tensor), name


def test_masking_words_leaves_the_unmasked_ids_for_the_contrastive_pass(case: Case) -> None:
    text = TextBatch(case.input_ids.clone(), case.attention_mask)
    masked, labels = mask_tokens(text, 0.5, 50, torch.Generator().manual_seed(0))
    assert torch.equal(text.input_ids, case.input_ids)
    assert (masked != text.input_ids).any()
    assert torch.equal(torch.where(labels == IGNORE_INDEX, masked, labels), case.input_ids)


def test_transformers_has_no_loss_without_a_masked_token_but_nan(model: FlavaForPreTraining, case: Case) -> None:
    nothing = case.but(
        mlm_labels=torch.full((BATCH, WORDS), IGNORE_INDEX), bool_masked_pos=torch.zeros(BATCH, SIDE, SIDE)
    )
    assert math.isnan(model(**nothing.for_transformers(*WORD_INPUTS)).loss.item())
    assert math.isnan(model(**nothing.for_transformers(*IMAGE_INPUTS)).loss.item())
    pairs = model(**nothing.for_transformers()).loss_info
    assert math.isnan(pairs.mmm_text.item())
    assert math.isnan(pairs.mmm_image.item())


def test_ours_without_a_masked_token_is_zero_and_leaves_finite_gradients(
    model: FlavaForPreTraining, case: Case
) -> None:
    nothing = case.but(
        mlm_labels=torch.full((BATCH, WORDS), IGNORE_INDEX), bool_masked_pos=torch.zeros_like(case.bool_masked_pos)
    )
    losses = fused_losses(model, nothing)
    losses["mlm"] = mlm_loss(model, nothing.input_ids_masked, nothing.attention_mask, nothing.mlm_labels)
    losses["mim"] = mim_loss(model, nothing.pixel_values, nothing.bool_masked_pos, nothing.mim_labels)
    assert {name: loss.item() for name, loss in losses.items() if name != "itm"} == dict.fromkeys(
        ["mmm_text", "mmm_image", "mlm", "mim"], 0.0
    )
    model.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    for head in (model.mlm_head, model.mim_head, model.mmm_text_head, model.mmm_image_head):
        assert head.decoder.weight.grad is not None  # every rank runs every head
        assert head.decoder.weight.grad.abs().max() == 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    model.zero_grad()


def test_transformers_needs_a_patch_mask_and_patch_labels_for_losses(model: FlavaForPreTraining, case: Case) -> None:
    with pytest.raises(AttributeError):
        model(**case.for_transformers("pixel_values", "mim_labels"))
    with pytest.raises(RuntimeError, match="codebook"):
        model(**case.for_transformers("pixel_values", "bool_masked_pos"))


# Image-text matching.


def test_transformers_takes_no_itm_labels_of_the_shape_it_documents(model: FlavaForPreTraining, case: Case) -> None:
    with pytest.raises((RuntimeError, IndexError, ValueError)):
        model(**case.but(itm_labels=case.itm_labels[:, None]).for_transformers())


def test_class_1_of_the_itm_head_is_a_match(model: FlavaForPreTraining, case: Case) -> None:
    """Teaching the head that all pairs match raises its logit 1, as evaluation and the service read it."""
    states = fused_states(
        model,
        image_states(model, case.pixel_values),
        text_states(model, case.input_ids, case.attention_mask),
        case.attention_mask,
    ).detach()
    bias = model.itm_head.seq_relationship.bias
    itm = F.cross_entropy(model.itm_head(states), torch.ones(BATCH).long())
    (gradient,) = torch.autograd.grad(itm, bias)
    assert gradient[1] < 0 < gradient[0]
    assert fused_losses(model, case.but(itm_labels=torch.ones(BATCH).long()))["itm"] > 0


def test_itm_is_taken_on_all_pairs_and_masked_tokens_on_the_matched_alone(
    model: FlavaForPreTraining, case: Case
) -> None:
    matched = case.itm_labels == 1
    other = case.but(
        mlm_labels=torch.where(matched[:, None] | (case.mlm_labels == IGNORE_INDEX), case.mlm_labels, 7),
        mim_labels=torch.where(matched[:, None, None], case.mim_labels, 3),
    )
    found, changed = fused_losses(model, case), fused_losses(model, other)
    assert found["mmm_text"] == changed["mmm_text"]
    assert found["mmm_image"] == changed["mmm_image"]
    flipped = case.but(itm_labels=1 - case.itm_labels)
    assert found["itm"] != fused_losses(model, flipped)["itm"]


def test_the_itm_head_has_a_pooler_of_its_own(model: FlavaForPreTraining, case: Case) -> None:
    before = fused_losses(model, case)["itm"]
    untyped: Any = model
    own, other = untyped.itm_head.pooler.dense.weight, untyped.flava.multimodal_model.pooler.dense.weight
    gradients = torch.autograd.grad(before, [own, other], allow_unused=True)
    assert gradients[0] is not None
    assert gradients[1] is None


def test_matching_and_masked_tokens_are_taken_on_masked_inputs(model: FlavaForPreTraining, case: Case) -> None:
    seen = case.but(input_ids_masked=case.input_ids, bool_masked_pos=torch.zeros_like(case.bool_masked_pos))
    assert fused_losses(model, seen)["itm"] != fused_losses(model, case)["itm"]
    masked = image_states(model, case.pixel_values, bool_masked_pos=case.bool_masked_pos)
    hidden = case.bool_masked_pos.bool().repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]  # [batch, 1, 16, 16]
    blanked = torch.where(hidden, 100.0, case.pixel_values)
    assert torch.allclose(image_states(model, blanked, bool_masked_pos=case.bool_masked_pos), masked, atol=TOLERANCE)


# Masked patches and words.


def test_patches_of_the_fused_sequence_begin_behind_both_class_tokens(model: FlavaForPreTraining, case: Case) -> None:
    """Exactly the states at 2 … 1 + patches and the last words carry a gradient to the two heads."""
    image = image_states(model, case.pixel_values, bool_masked_pos=case.bool_masked_pos)
    text = text_states(model, case.input_ids_masked, case.attention_mask)
    seen: dict[str, Tensor] = {}

    def keep(module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen["patches" if module is model.mmm_image_head else "words"] = arguments[0]

    hooks = [head.register_forward_pre_hook(keep) for head in (model.mmm_image_head, model.mmm_text_head)]
    everything = case.but(
        itm_labels=torch.ones(BATCH).long(),
        mlm_labels=torch.where(case.attention_mask == 1, case.input_ids, IGNORE_INDEX),
        bool_masked_pos=torch.ones_like(case.bool_masked_pos),
    )
    multimodal_losses(
        model,
        image,
        text,
        case.attention_mask,
        everything.mlm_labels,
        everything.itm_labels,
        patch_labels(everything.bool_masked_pos, case.mim_labels),
    )
    for hook in hooks:
        hook.remove()
    states = fused_states(model, image, text, case.attention_mask)
    assert states.shape[1] == 2 + PATCHES + WORDS
    assert torch.equal(seen["patches"], states[:, 2 : 2 + PATCHES].flatten(0, 1))
    assert torch.equal(seen["words"], states[:, 2 + PATCHES :][case.attention_mask == 1])


def test_only_masked_patches_are_predicted_and_the_class_token_never(model: FlavaForPreTraining, case: Case) -> None:
    labels = patch_labels(case.bool_masked_pos, case.mim_labels)
    assert labels.shape == (BATCH, PATCHES)
    assert torch.equal(labels != IGNORE_INDEX, case.bool_masked_pos.flatten(1).bool())
    other = torch.where(case.bool_masked_pos.bool(), case.mim_labels, (case.mim_labels + 1) % 12)
    losses = [mim_loss(model, case.pixel_values, case.bool_masked_pos, tokens) for tokens in (case.mim_labels, other)]
    assert losses[0] == losses[1]


# The contrastive loss.


def test_transformers_drops_the_rows_of_mismatched_pairs_and_keeps_their_columns(
    model: FlavaForPreTraining, case: Case
) -> None:
    """Ours has no mismatched pair at all: captions are exchanged in the fused part of a batch only."""
    output = model(**case.for_transformers())
    image, text = embeddings(model, case)
    logits = image @ text.T * model.flava.logit_scale.exp()
    matched, target = case.itm_labels == 1, torch.arange(BATCH)
    by_rows = F.cross_entropy(logits[matched], target[matched]) + F.cross_entropy(logits.T[matched], target[matched])
    assert output.contrastive_logits_per_image.shape == (4, BATCH)
    assert output.loss_info.global_contrastive.item() == pytest.approx(by_rows.item() / 2, abs=TOLERANCE)
    without = F.cross_entropy(logits[matched][:, matched], torch.arange(4))
    assert abs(without.item() - F.cross_entropy(logits[matched], target[matched]).item()) > 1e-3


def test_exchanged_captions_do_not_reach_the_contrastive_loss(model: FlavaForPreTraining, case: Case) -> None:
    objectives = FlavaObjectives(model, ALL, Ranks())
    found = objectives(pairs_batch(case))
    exchanged = case.but(
        input_ids_masked=case.input_ids_masked.roll(1, 0),
        attention_mask=case.attention_mask.roll(1, 0),
        mlm_labels=case.mlm_labels.roll(1, 0),
        itm_labels=torch.zeros(BATCH).long(),
    )
    batch = PairsBatch(
        case.pixel_values, None, TextBatch(case.input_ids, case.attention_mask), pairs_batch(exchanged).fused
    )
    assert objectives(batch)["contrastive"] == found["contrastive"]
    assert objectives(batch)["itm"] != found["itm"]


@pytest.mark.parametrize("start", [-1.0, 9.0])
def test_the_logit_scale_is_clamped_before_it_scales(case: Case, start: float) -> None:
    model = make_model()
    with torch.no_grad():
        model.flava.logit_scale.fill_(start)
    loss = contrastive_loss(model, *embeddings(model, case))
    assert LOGIT_SCALE_RANGE[0] <= model.flava.logit_scale.item() <= LOGIT_SCALE_RANGE[1]
    loss.backward()
    assert model.flava.logit_scale.grad is not None  # the clamp is of the value, not of the gradient


def test_transformers_clamps_the_logit_scale_in_training_mode_alone(case: Case) -> None:
    model = make_model()
    with torch.no_grad():
        model.flava.logit_scale.fill_(9.0)
    model.eval()(**case.for_transformers())
    assert model.flava.logit_scale.item() == 9.0
    model.train()(**case.for_transformers())
    assert model.flava.logit_scale.item() == pytest.approx(LOGIT_SCALE_RANGE[1])


def test_embeddings_are_the_projected_class_token_behind_the_final_norm_and_not_the_pooler(
    model: FlavaForPreTraining, case: Case
) -> None:
    image, text = embeddings(model, case)
    output = model.flava(pixel_values=case.pixel_values, input_ids=case.input_ids, attention_mask=case.attention_mask)
    by_hand = F.normalize(model.flava.image_projection(output.image_output.last_hidden_state[:, 0]), dim=-1)
    pooled = F.normalize(model.flava.image_projection(output.image_output.pooler_output), dim=-1)
    assert torch.allclose(image, by_hand, atol=TOLERANCE)
    assert not torch.allclose(image, pooled, atol=1e-2)
    assert torch.allclose(text.norm(dim=-1), torch.ones(BATCH), atol=TOLERANCE)
    features: Any = model.flava.get_text_features(input_ids=case.input_ids, attention_mask=case.attention_mask)
    every = features.pooler_output  # of every token, and not normalized
    assert every.shape == (BATCH, WORDS, 16)
    assert torch.allclose(text, F.normalize(every[:, 0], dim=-1), atol=TOLERANCE)


def test_pytorchs_own_gather_with_gradients_is_deprecated_and_ours_is_silent(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        tensor = torch.ones(2, 3, requires_grad=True)
        with pytest.warns(FutureWarning, match="deprecated"):
            differentiable.all_gather(tensor)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gathered = _Gather.apply(tensor)
            gathered.sum().backward()
    finally:
        dist.destroy_process_group()
    assert torch.equal(tensor.grad, torch.ones(2, 3))  # type: ignore[arg-type]


def test_a_batch_of_pairs_leaves_the_poolers_and_the_unimodal_heads_without_a_gradient(case: Case) -> None:
    model = make_model()
    FlavaObjectives(model, ALL, Ranks())(pairs_batch(case))["loss"].backward()
    without = {
        name.partition(".pooler")[0].split(".decoder")[0] for name, p in model.named_parameters() if p.grad is None
    }
    parts = {name.removeprefix("flava.").partition(".")[0] for name in without}
    assert parts == {"image_model", "text_model", "multimodal_model", "mim_head", "mlm_head"}
    assert all(name.endswith(("_model", "_head")) or name.startswith(("mim_head.", "mlm_head.")) for name in without)
