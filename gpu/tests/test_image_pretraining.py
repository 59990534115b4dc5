"""MIM and DINO: their maths against plain formulas, their guards, and the image stage as its users run it."""

from __future__ import annotations

import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn
from transformers import FlavaForPreTraining, FlavaImageConfig, FlavaImageModel

from flava_gpu.augment import normalize
from flava_gpu.image_pretraining.dino import (
    DinoConfig,
    DinoHead,
    DistilledImages,
    answer_spread,
    dino_loss,
    teacher_momentum,
    teacher_targets,
)
from flava_gpu.image_pretraining.group_probe import Labelled, probe_groups
from flava_gpu.stages.image import ImageConfig
from flava_gpu.training.config import ConfigError, InitConfig, load_config
from flava_gpu.training.curves import read_curves
from flava_gpu.training.initialization import initialize
from flava_gpu.training.optimizer import build_optimizer, gradient_scaler, take_step
from tests.tiny import image_config, run_stage, write_codebook, write_config, write_data

STAGES = ["image", "image-dino"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, a codebook, and the runs `image` and `image-dino` at their ends."""
    folder = tmp_path_factory.mktemp("finished")
    data, codebook = write_data(folder / "data"), write_codebook(folder / "codebook")
    for stage in STAGES:
        config = write_config(folder / f"{stage}.yaml", image_config(stage, data, codebook))
        run_stage("image", config, folder / "runs")
    return folder


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_dino_loss_is_the_mean_over_pairs_of_different_crops() -> None:
    answers, targets = random(5, 3, 7), random(2, 3, 7, seed=1).softmax(-1)
    pairs: list[float] = []
    for t in range(2):
        for s in range(5):
            if s != t:
                for picture in range(3):
                    student = (answers[s, picture] / 0.1).softmax(-1)
                    pairs.append(-(targets[t, picture] * student.log()).sum().item())
    assert dino_loss(answers, targets, 0.1).item() == pytest.approx(sum(pairs) / len(pairs), rel=1e-4)


def test_cosines_and_the_loss_keep_f32_s_precision_under_autocast(finished: Path) -> None:
    answers, targets = random(5, 3, 7), random(2, 3, 7, seed=1).softmax(-1)
    head = DinoHead(6, dino_config(finished).head)
    head.mlp = nn.Sequential(nn.Identity())  # the layers below are welcome to half precision
    head.prototypes = nn.Parameter(random(12, 6, seed=2))
    states = random(3, 6, seed=3)
    cosines, loss = head(states), dino_loss(answers, targets, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(head(states), cosines, atol=1e-6)
        assert dino_loss(answers, targets, 0.1).item() == pytest.approx(loss.item(), rel=1e-6)


def test_a_teacher_s_answers_are_centered_then_sharpened() -> None:
    named, center = random(2, 3, 7), random(7, seed=1)
    expected = ((named - center) / 0.04).exp()
    targets = teacher_targets(named, center, 0.04)
    assert torch.allclose(targets, expected / expected.sum(-1, keepdim=True), atol=1e-5)


def test_the_spread_of_answers_is_zero_in_both_ways_to_collapse_and_ln_k_without() -> None:
    one_for_all = torch.zeros(2, 4, 8)
    one_for_all[..., 3] = 1
    each_its_own = torch.eye(8).view(2, 4, 8)
    assert answer_spread(one_for_all) == pytest.approx(0.0, abs=1e-6)
    assert answer_spread(torch.full((2, 4, 8), 1 / 8)) == pytest.approx(0.0, abs=1e-6)
    assert answer_spread(each_its_own) == pytest.approx(math.log(8))


def test_the_teacher_s_momentum_and_temperature_go_from_their_start_to_their_end(finished: Path) -> None:
    assert teacher_momentum(0, 100, 0.99) == pytest.approx(0.99)
    assert teacher_momentum(50, 100, 0.99) == pytest.approx(0.995)
    assert teacher_momentum(100, 100, 0.99) == pytest.approx(1.0)
    config = dino_config(finished)
    warm = replace(
        config, teacher=replace(config.teacher, warmup_temperature=0.04, temperature=0.07, warmup_updates=10)
    )
    assert [warm.teacher_temperature(update) for update in (0, 5, 10, 99)] == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_the_head_gives_cosines_with_prototypes_of_length_one(finished: Path) -> None:
    head = DinoHead(6, dino_config(finished).head)
    with torch.no_grad():
        head.prototypes.mul_(100)
    states = random(3, 6)
    directions = torch.nn.functional.normalize(head.mlp(states), dim=-1)
    prototypes = head.prototypes / head.prototypes.norm(dim=-1, keepdim=True)
    assert torch.allclose(head(states), directions @ prototypes.T, atol=1e-6)


def dino_config(finished: Path) -> DinoConfig:
    config = load_config(ImageConfig, finished / "image-dino.yaml").dino
    assert config is not None
    return config


def distilled(finished: Path) -> tuple[DistilledImages, Any]:
    config = load_config(ImageConfig, finished / "image-dino.yaml")
    torch.manual_seed(0)
    model = FlavaForPreTraining(config.model.to_flava())
    images = torch.randint(0, 256, (6, 4, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    return DistilledImages(dino_config(finished), config.model, 0, 10, model, images), config.optimization


def test_one_step_moves_the_student_by_gradients_and_teacher_and_center_by_their_averages(finished: Path) -> None:
    objective, optimization = distilled(finished)
    optimizer = build_optimizer(objective.trained, optimization)
    module = objective.module
    assert all(torch.equal(a, b) for a, b in zip(module.student.parameters(), module.teacher.parameters(), strict=True))
    rows = [0, 1, 2, 3]
    crops = objective._crops(objective.images[rows], objective.config.global_crops, 0, "global")
    with torch.no_grad():
        named = torch.stack([module.teacher(crop) for crop in crops])
    loss = objective.losses(rows, 0)["dino"]
    assert torch.allclose(module.center, 0.1 * named.mean(dim=(0, 1)), atol=1e-5)
    loss.backward()
    assert all(parameter.grad is None for parameter in module.teacher.parameters())
    before = [parameter.detach().clone() for parameter in module.teacher.parameters()]
    take_step(optimizer, objective.trained.parameters(), 0, optimization, gradient_scaler(optimization))
    objective.after_step(0)
    moved = zip(before, module.student.parameters(), module.teacher.parameters(), strict=True)
    assert all(torch.allclose(now, old + 0.01 * (student - old), atol=1e-7) for old, student, now in moved)
    assert not torch.equal(module.student.head.prototypes, module.teacher.head.prototypes)


def test_prototypes_stay_as_they_are_for_the_first_updates(finished: Path) -> None:
    objective, optimization = distilled(finished)
    optimizer = build_optimizer(objective.trained, optimization)
    stayed: list[bool] = []
    for update in range(3):
        before = objective.module.student.head.prototypes.detach().clone()
        objective.losses([0, 1, 2], update)["dino"].backward()
        objective.before_step(update)
        take_step(optimizer, objective.trained.parameters(), update, optimization, gradient_scaler(optimization))
        stayed.append(torch.equal(before, objective.module.student.head.prototypes))
    assert stayed == [True, True, False]


@pytest.mark.parametrize("way", ["one prototype", "all alike"])
def test_a_collapsed_teacher_is_warned_of(finished: Path, caplog: pytest.LogCaptureFixture, way: str) -> None:
    objective, _ = distilled(finished)
    objective.losses([0, 1, 2, 3], 0)
    objective.spread = 1.0
    assert not objective.warn_if_collapsed()
    caplog.clear()
    with torch.no_grad():
        if way == "one prototype":
            objective.module.center[1:] = 100.0
        else:
            for parameter in objective.module.teacher.encoder.parameters():
                parameter.zero_()
    objective.losses([0, 1, 2, 3], 1)
    assert objective.warn_if_collapsed()
    assert "the teacher says nearly the same of every picture" in caplog.text


def test_small_crops_pass_through_interpolated_position_embeddings(finished: Path) -> None:
    objective, _ = distilled(finished)
    student = objective.module.student
    with torch.no_grad():
        student.encoder.embeddings.position_embeddings.normal_(generator=torch.Generator().manual_seed(0))
        table = student.encoder.embeddings.position_embeddings
        pixels = random(2, 3, 8, 8)
        patches = student.encoder.embeddings.patch_embeddings(pixels, interpolate_pos_encoding=True)
        small = torch.nn.functional.interpolate(
            table[:, 1:].unflatten(1, (2, 2)).permute(0, 3, 1, 2), size=(1, 1), mode="bicubic", align_corners=False
        )
        cls = (student.encoder.embeddings.cls_token + table[:, :1]).expand(2, -1, -1)
        embedded = torch.cat([cls, patches + small.flatten(2).transpose(1, 2)], dim=1)
        states = student.encoder.encoder(embedded).last_hidden_state[:, 0]
        assert torch.allclose(student(pixels), student.head(student.encoder.layernorm(states)), atol=1e-5)


def test_the_probe_recovers_a_planted_signal_and_stays_near_chance_on_shuffled_labels() -> None:
    torch.manual_seed(0)
    config = FlavaImageConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8
    )
    encoder = FlavaImageModel(config).eval()

    def pictures(count: int, seed: int) -> Labelled:
        generator = torch.Generator().manual_seed(seed)
        reds = torch.randint(0, 2, (count,), generator=generator)
        pixels = torch.rand(count, 3, 16, 16, generator=generator) * 0.5
        pixels[:, 0] += 0.5 * reds.view(-1, 1, 1)
        return Labelled(normalize(pixels), [("blue", "red")[red] for red in reds])

    train, dev = pictures(300, 1), pictures(200, 2)
    assert probe_groups(encoder, train, dev)["group_accuracy"] > 95
    order = torch.randperm(300, generator=torch.Generator().manual_seed(3)).tolist()
    shuffled = Labelled(train.pixel_values, [train.groups[row] for row in order])
    assert 35 < probe_groups(encoder, shuffled, dev)["group_accuracy"] < 65


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_goes_on_from_its_checkpoint_to_the_same_weights_bit_for_bit(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, stage: str
) -> None:
    kept = f"{stage}/checkpoints/step-0000004"
    shutil.copytree(finished / "runs" / kept, tmp_path / kept)
    with caplog.at_level(logging.INFO):
        run_stage("image", finished / f"{stage}.yaml", tmp_path)
    assert "resumed at update 4" in caplog.text
    once = load_file(finished / "runs" / stage / "model.safetensors")
    resumed = load_file(tmp_path / stage / "model.safetensors")
    ours = [name for name in once if name.startswith(("flava.image_model.", "mim_head."))]
    assert ours
    assert all(torch.equal(once[name], resumed[name]) for name in ours)
    own = [
        load_file(folder / stage / "checkpoints" / "step-0000008" / "model.safetensors")
        for folder in (finished / "runs", tmp_path)
    ]
    assert all(torch.equal(own[0][name], own[1][name]) for name in own[0])


@pytest.mark.parametrize(
    ("stage", "include"), [("image", ("flava.image_model.", "mim_head.")), ("image-dino", ("flava.image_model.",))]
)
def test_the_joint_stage_s_init_takes_the_encoder(finished: Path, stage: str, include: tuple[str, ...]) -> None:
    run = finished / "runs" / stage
    model = FlavaForPreTraining(load_config(ImageConfig, finished / "image.yaml").model.to_flava())
    (loaded,) = initialize(model, (InitConfig(run, include=include),))
    saved, now = load_file(run / "model.safetensors"), model.state_dict()
    assert {name for name in saved if name.startswith(include)} == set(loaded.loaded)
    assert all(torch.equal(now[name].half(), saved[name]) for name in loaded.loaded)


def test_dino_saves_its_teacher(finished: Path) -> None:
    run = finished / "runs" / "image-dino"
    saved = load_file(run / "model.safetensors")
    kept = load_file(run / "checkpoints" / "step-0000008" / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    assert torch.equal(saved[f"flava.image_model.{name}"], kept[f"teacher.encoder.{name}"].half())
    assert not torch.equal(kept[f"teacher.encoder.{name}"], kept[f"student.encoder.{name}"])


def test_curves_hold_the_probe_and_what_each_objective_watches(finished: Path) -> None:
    keys = {stage: {key for point in read_curves(finished / "runs" / stage) for key in point} for stage in STAGES}
    assert {"mim", "dev_style_probe", "dev_style_patches"} <= keys["image"]
    assert {"dino", "dev_style_probe", "teacher_entropy", "teacher_spread"} <= keys["image-dino"]


def refused(finished: Path, tmp_path: Path, change: dict[str, Any], message: str, stage: str = "image") -> None:
    raw = yaml.safe_load((finished / f"{stage}.yaml").read_text())
    for path, value in change.items():
        *sections, key = path.split(".")
        target = raw
        for section in sections:
            target = target[section]
        target[key] = value
    with pytest.raises(ConfigError, match=message):
        run_stage("image", write_config(tmp_path / "c.yaml", raw), tmp_path)
    assert not list(tmp_path.glob("*/model.safetensors"))


def test_an_augmentation_that_moves_pictures_from_their_tokens_is_refused(finished: Path, tmp_path: Path) -> None:
    refused(finished, tmp_path, {"mim.augmentation.shift": 0.1}, r"\['shift'\] would move the picture")
    refused(finished, tmp_path, {"mim.augmentation.scale": [0.9, 1.0]}, r"\['scale'\] would move the picture")


def test_a_codebook_of_another_size_than_the_head_is_refused(finished: Path, tmp_path: Path) -> None:
    refused(finished, tmp_path, {"model.image_vocab_size": 9}, r"model.image_vocab_size: .*codebook has 8 codes")


def test_both_objectives_none_and_unknown_keys_are_refused(finished: Path, tmp_path: Path) -> None:
    both = yaml.safe_load((finished / "image-dino.yaml").read_text())["dino"]
    refused(finished, tmp_path, {"dino": both}, "expected one of the keys mim and dino")
    refused(finished, tmp_path, {"mim": None}, "expected one of the keys mim and dino")
    refused(finished, tmp_path, {"mim.mask_ratio": 0.4}, "unknown key 'mask_ratio'")
    refused(finished, tmp_path, {"dino.teacher.decay": 0.4}, "unknown key 'decay'", "image-dino")


def test_a_second_average_beside_dino_s_teacher_is_refused(finished: Path, tmp_path: Path) -> None:
    refused(finished, tmp_path, {"optimization.ema_decay": 0.9}, "DINO's teacher is the average", "image-dino")
