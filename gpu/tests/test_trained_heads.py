"""Which heads a stage's record calls trained: those it trained, and those that came trained and whose ground has not moved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from flava_gpu.joint_config import JointConfig, heads_of
from flava_gpu.trained_heads import HEAD_RESTS_ON
from flava_gpu.training.config import InitConfig, load_config
from flava_gpu.training.initialization import initialize
from flava_gpu.training.record import training_record
from tests.tiny import PLAN, joint_config, write_config

ALL = list(HEAD_RESTS_ON)
ENCODERS = ("text_model", "image_model", "text_projection", "image_projection")
MULTIMODAL = ("image_to_mm_projection", "text_to_mm_projection", "multimodal_model")


@dataclass(frozen=True)
class NamedConfig:
    name: str = "later"


class Flava(nn.Module):
    """A number for each part of the model that heads answer from."""

    def __init__(self) -> None:
        super().__init__()
        self.flava = nn.ModuleDict({part: nn.Linear(1, 1) for part in (*ENCODERS, *MULTIMODAL)})
        self.flava.register_parameter("logit_scale", nn.Parameter(torch.zeros(())))
        self.heads = [f"{head}_head" for head in ALL if head != "contrastive"]
        for head in self.heads:
            self.add_module(head, nn.Linear(1, 1))


def recorded(source: Path, init: InitConfig, moving: tuple[str, ...], heads: list[str]) -> list[str]:
    """Heads in the record of a stage whose one update moves what begins with `moving`."""
    model = Flava()
    loaded = initialize(model, (init,))
    optimizer = torch.optim.AdamW(model.parameters())
    moved = [p for name, p in model.named_parameters() if name.startswith(moving) and p.requires_grad]
    torch.stack([parameter.sum() for parameter in moved]).sum().backward()
    optimizer.step()
    run: Any = SimpleNamespace(module=model, optimizer=optimizer, identity={"data": "tiny"}, seconds=1.0)
    return training_record("joint", run, NamedConfig(), PLAN, heads, {}, loaded)["heads"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    save_file(Flava().state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "training.json").write_text(json.dumps({"heads": ["contrastive", "mim", "mlm", "itm"], "stages": []}))
    return tmp_path


FUSION = ["itm", "mmm_text", "mmm_image"]
FUSED = ("flava.multimodal_model.", "itm_head.", "mmm_text_head.", "mmm_image_head.")


def test_after_training_the_multimodal_encoder_alone_the_encoders_heads_are_still_trained(source: Path) -> None:
    assert recorded(source, InitConfig(source), FUSED, FUSION) == ALL


def test_a_head_whose_encoder_has_trained_on_without_it_is_trained_no_more(source: Path) -> None:
    moving = ("flava.image_model.", "flava.image_projection.")
    assert recorded(source, InitConfig(source), moving, ["contrastive"]) == ["contrastive", "mlm"]


def test_a_head_counts_only_when_it_was_loaded_with_what_it_answers_from(source: Path) -> None:
    text = InitConfig(source, include=("flava.text_model.", "mlm_head.", "mim_head.", "itm_head."))
    assert recorded(source, text, ("flava.image_projection.",), []) == ["mlm"]


def test_a_checkpoint_without_a_record_was_trained_in_whatever_it_holds(source: Path) -> None:
    (source / "training.json").unlink()
    assert recorded(source, InitConfig(source), FUSED, ["itm"]) == ["contrastive", "itm", "mim", "mlm"]


def heads_with(tmp_path: Path, **changes: Any) -> list[str]:
    raw = joint_config(tmp_path, tmp_path, tmp_path)
    for key, value in changes.items():
        raw[key] = raw[key] | value if isinstance(value, dict) else value
    return heads_of(load_config(JointConfig, write_config(tmp_path / "joint.yaml", raw)))


def test_a_weight_alone_trains_no_head(tmp_path: Path) -> None:
    assert heads_with(tmp_path) == ALL
    assert heads_with(tmp_path, weights={"itm": 0.0}) == [head for head in ALL if head != "itm"]
    assert heads_with(tmp_path, datasets={"images": 0.0, "texts": 0.0}) == ["contrastive", *FUSION]
    assert heads_with(tmp_path, codebook=None) == ["contrastive", "itm", "mmm_text", "mlm"]
    assert heads_with(tmp_path, datasets={"pairs": 0.0}) == ["mim", "mlm"]
