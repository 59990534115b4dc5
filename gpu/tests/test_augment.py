"""Augmentation: range, determinism, and that each knob turned off leaves the picture as it was."""

from __future__ import annotations

import dataclasses

import torch

from flava_gpu.augment import augment
from flava_gpu.joint_config import JointConfig
from flava_gpu.training.config import load_config
from tests.tiny import CONFIGS

SHIPPED_AUGMENTATION = load_config(JointConfig, CONFIGS / "joint.yaml").augmentation
NOTHING = dataclasses.replace(
    SHIPPED_AUGMENTATION,
    **{field.name: 0.0 for field in dataclasses.fields(SHIPPED_AUGMENTATION) if field.name != "scale"},
    scale=(1.0, 1.0),
)


def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 4, 32, 32), dtype=torch.uint8, generator=generator)
    images[:, 3] = 255
    return images


def test_values_stay_in_the_unit_range_and_repeat_for_the_same_generator() -> None:
    first = augment(pictures(), 24, SHIPPED_AUGMENTATION, torch.Generator().manual_seed(1))
    again = augment(pictures(), 24, SHIPPED_AUGMENTATION, torch.Generator().manual_seed(1))
    assert first.shape == (16, 3, 24, 24)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)


def test_with_every_knob_off_some_pictures_stay_and_the_others_change_by_contrast_and_brightness_alone() -> None:
    plain = augment(pictures(), 32, NOTHING, torch.Generator().manual_seed(2))
    original = pictures()[:, :3].float() / 255
    changed = (plain - original).abs().flatten(1)
    kept = changed.amax(dim=1) < 1e-3
    assert kept.any()
    assert not kept.all()
    # The widest contrast, 0.7 to 1.25 around the middle, and a shift of 0.08.
    assert (changed[~kept].amax(dim=1) < 0.5 * 0.3 + 0.08 + 1e-3).all()


def test_transparent_parts_become_white_without_a_random_background() -> None:
    images = pictures()
    images[:, 3] = 0
    plain = augment(images, 32, NOTHING, torch.Generator().manual_seed(3))
    unchanged = plain[(plain > 0.999).flatten(1).all(dim=1)]
    assert len(unchanged) > 0


def test_outlines_darken_a_silhouette() -> None:
    images = torch.zeros((8, 4, 32, 32), dtype=torch.uint8)
    images[:, :, 8:24, 8:24] = 255
    outlined = augment(images, 32, dataclasses.replace(NOTHING, outline=1.0), torch.Generator().manual_seed(4))
    assert (outlined[:, :, 8, 16].amax(dim=1) < outlined[:, :, 16, 16].amin(dim=1) - 0.2).all()
