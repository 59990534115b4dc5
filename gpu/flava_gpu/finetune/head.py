"""A fine-tuned head: what it reads from the model, its layers, how it is saved beside a checkpoint and loaded again.

    spec, head = load_head(folder)
    states = head_states(model, spec.inputs, pixel_values, text)
    predict(spec, head, states)

The states are token 0 after the final layer norm of the encoder that sees the inputs: text, image, or both fused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import FlavaForPreTraining

from flava_gpu.batching import TextBatch
from flava_gpu.finetune.rows import Inputs
from flava_gpu.objectives import fused_states, image_states, text_states
from flava_gpu.trained_heads import HEAD_FILE

HEAD_FORMAT = 1


@dataclass(frozen=True)
class HeadSpec:
    task: Literal["classification", "regression"]
    inputs: Inputs
    labels: list[str] | None
    """In the order of the head's outputs; None for a regression, which has one output."""
    hidden_size: int
    inner_size: int | None
    """Width of the layer between; None for a linear head."""
    max_text_length: int
    """Tokens a text was cut to in training."""
    value_mean: float = 0.0
    value_scale: float = 1.0
    """A regression's outputs times this plus the mean are the values of the training rows."""

    @property
    def weights_file(self) -> str:
        return f"{self.task}_head.safetensors"

    @property
    def outputs(self) -> int:
        return 1 if self.labels is None else len(self.labels)


class Head(nn.Module):
    """Linear, or two layers with a GELU between as FLAVA's multimodal fine-tuning has (arXiv 2112.04482, supplement)."""

    def __init__(self, hidden_size: int, inner_size: int | None, outputs: int) -> None:
        super().__init__()
        self.dense = None if inner_size is None else nn.Linear(hidden_size, inner_size)
        self.out = nn.Linear(inner_size or hidden_size, outputs)

    def forward(self, states: Tensor) -> Tensor:
        """f32 [batch, outputs] of states [batch, hidden_size]."""
        if self.dense is not None:
            states = nn.functional.gelu(self.dense(states))
        return self.out(states)

    @classmethod
    def of(cls, spec: HeadSpec) -> Head:
        return cls(spec.hidden_size, spec.inner_size, spec.outputs)


def head_states(
    model: FlavaForPreTraining, inputs: Inputs, pixel_values: Tensor | None, text: TextBatch | None
) -> Tensor:
    """What a head reads, f32 [batch, hidden_size]; `inputs` says which of the two arguments there must be."""
    flava = model.flava
    if inputs == "image":
        assert pixel_values is not None
        return flava.image_model.layernorm(image_states(model, pixel_values)[:, 0]).float()
    assert text is not None
    words = text_states(model, text.input_ids, text.attention_mask)
    if inputs == "text":
        return flava.text_model.layernorm(words[:, 0]).float()
    assert pixel_values is not None
    return fused_states(model, image_states(model, pixel_values), words, text.attention_mask)[:, 0].float()


def predict(spec: HeadSpec, head: Head, states: Tensor) -> Tensor:
    """Probabilities f32 [batch, labels] in the order of `spec.labels`, or a regression's values f32 [batch]."""
    outputs = head(states)
    if spec.task == "classification":
        return outputs.softmax(dim=1)
    return outputs[:, 0] * spec.value_scale + spec.value_mean


def save_head(folder: Path, spec: HeadSpec, head: Head) -> None:
    """Two files, `<task>_head.safetensors` in f32 and head.json."""
    weights = {name: tensor.detach().float().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(weights, folder / spec.weights_file)
    described = {"format": HEAD_FORMAT, **asdict(spec), "weights": spec.weights_file}
    (folder / HEAD_FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def load_head(folder: Path) -> tuple[HeadSpec, Head]:
    """The head beside a checkpoint, in evaluation mode; FileNotFoundError when it has none, ValueError when it is broken."""
    raw: dict[str, Any] = json.loads((folder / HEAD_FILE).read_text(encoding="utf-8"))
    if raw.pop("format", None) != HEAD_FORMAT:
        raise ValueError(f"{HEAD_FILE}: expected format {HEAD_FORMAT}")
    raw.pop("weights", None)  # the task names the file, so that no path is read from it
    try:
        spec = HeadSpec(**raw)
    except TypeError as error:
        raise ValueError(f"{HEAD_FILE}: {error}") from error
    if spec.task not in ("classification", "regression") or (spec.labels is None) != (spec.task == "regression"):
        raise ValueError(f"{HEAD_FILE}: expected a classification with labels or a regression without")
    head = Head.of(spec)
    try:
        head.load_state_dict(load_file(folder / spec.weights_file))
    except RuntimeError as error:
        raise ValueError(f"{spec.weights_file}: {error}") from error
    return spec, head.eval()


def new_head(spec: HeadSpec, seed: int) -> Head:
    """Initialised as FLAVA's own layers (normal, 0.02), from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    head = Head.of(spec)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if name.endswith("weight"):
                parameter.normal_(0.0, 0.02, generator=generator)
            else:
                parameter.zero_()
    return head
