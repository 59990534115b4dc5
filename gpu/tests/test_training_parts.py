"""What the stages share: the schedule, the averaged weights, partial initialization."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import FlavaForPreTraining

from flava_gpu.training.config import ConfigError, InitConfig, ModelConfig
from flava_gpu.training.ema import Ema
from flava_gpu.training.errors import TrainingError
from flava_gpu.training.initialization import initialize
from flava_gpu.training.optimizer import (
    build_optimizer,
    gradient_scaler,
    is_stuck_at_chance,
    learning_rate,
    take_step,
)
from tests.tiny import PLAN, shipped


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(3, 2)
        self.dense = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)


def test_the_learning_rate_warms_up_linearly_and_ends_near_zero() -> None:
    rates = [learning_rate(update, PLAN) for update in range(PLAN.updates)]
    assert rates[0] == pytest.approx(PLAN.learning_rate / PLAN.warmup_updates)
    assert max(rates) == pytest.approx(PLAN.learning_rate)
    assert rates.index(max(rates)) <= PLAN.warmup_updates
    assert rates[-1] < PLAN.learning_rate * 1e-3


def test_weight_decay_is_on_matrices_alone() -> None:
    dense = nn.Linear(2, 2)
    encoder = nn.ModuleDict({"word_embeddings": nn.Embedding(3, 2), "dense": dense, "norm": nn.LayerNorm(2)})
    groups = {group["weight_decay"]: group["params"] for group in build_optimizer(encoder, PLAN).param_groups}
    assert [id(parameter) for parameter in groups[0.1]] == [id(dense.weight)]
    assert len(groups[0.0]) == 4


def test_of_flava_s_parameters_all_matrices_decay_and_no_table_of_embeddings() -> None:
    model = FlavaForPreTraining(ModelConfig(**shipped("joint")["model"]).to_flava())
    optimizer = build_optimizer(model, PLAN)
    decayed = {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
    names = {name: id(parameter) in decayed for name, parameter in model.named_parameters()}
    assert names["flava.image_model.embeddings.patch_embeddings.projection.weight"]
    assert names["flava.text_model.encoder.layer.0.attention.attention.query.weight"]
    for table in ("word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight"):
        assert not names[f"flava.text_model.embeddings.{table}"]
    for token in ("cls_token", "mask_token", "position_embeddings"):
        assert not names[f"flava.image_model.embeddings.{token}"]
    assert not names["flava.logit_scale"]


def test_a_gradient_that_is_no_number_leaves_the_weights_as_they_were() -> None:
    module = nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    optimizer = build_optimizer(module, PLAN)
    module(torch.ones(1, 2)).sum().backward()
    assert module.weight.grad is not None
    module.weight.grad[0, 0] = torch.inf
    with pytest.raises(TrainingError, match="not finite"):
        take_step(optimizer, module.parameters(), 0, PLAN, gradient_scaler(PLAN))
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_frozen_parameters_are_not_in_the_optimizer() -> None:
    encoder = Encoder()
    encoder.dense.requires_grad_(False)
    optimizer = build_optimizer(encoder, PLAN)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 3


def test_averaged_weights_follow_the_recursion_and_leave_the_module_as_it_was() -> None:
    encoder = Encoder()
    ema = Ema(encoder, 0.5)
    first = encoder.dense.weight.detach().clone()
    with torch.no_grad():
        encoder.dense.weight.add_(1.0)
    ema.update(encoder)
    weight = 1 - min(0.5, 2 / 11)
    expected = first + weight * (encoder.dense.weight - first)
    with ema.applied_to(encoder):
        assert torch.allclose(encoder.dense.weight, expected)
    assert torch.allclose(encoder.dense.weight, first + 1)


def test_a_loss_at_ln_of_the_batch_is_told_from_learning() -> None:
    assert is_stuck_at_chance(5.545, 256)
    assert not is_stuck_at_chance(5.3, 256)


def test_initialization_takes_what_is_included_leaves_what_is_excluded_and_freezes(tmp_path: Path) -> None:
    source, target = Encoder(), Encoder()
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    config = InitConfig(tmp_path, include=("dense", "norm"), exclude=("norm.bias",), freeze=("dense.",))
    kept = target.embeddings.weight.detach().clone()
    (loaded,) = initialize(target, (config,))
    assert loaded.loaded == ("dense.bias", "dense.weight", "norm.weight")
    assert loaded.left_out == ("embeddings.weight", "norm.bias")
    assert torch.equal(target.dense.weight, source.dense.weight)
    assert torch.equal(target.embeddings.weight, kept)
    assert not target.dense.weight.requires_grad
    assert target.norm.weight.requires_grad


def test_initialization_from_another_shape_names_the_tensor(tmp_path: Path) -> None:
    save_file({"dense.weight": torch.zeros(3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"dense\.weight: expected \[2, 2\], got \[3, 3\]"):
        initialize(Encoder(), (InitConfig(tmp_path),))


def test_freezing_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    save_file({"dense.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="no parameter begins with 'absent'"):
        initialize(Encoder(), (InitConfig(tmp_path, freeze=("absent",)),))
