"""Both encoders as ONNX, for other tools: `input_ids` or `pixel_values` in, unit-length `embeddings` out.

    PYTHONPATH=gpu .venv/bin/python -m flava_gpu.onnx_export --checkpoint models/flava-emoji/checkpoint --out build/onnx

fp32 and unquantized: what the edge package approximates. Batch and text length are dynamic.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import FlavaForPreTraining, FlavaModel

logger = logging.getLogger(__name__)

OPSET = 18


class TextEmbedder(nn.Module):
    """Projected, unit-length embedding of token 0 of the text encoder."""

    def __init__(self, model: FlavaModel) -> None:
        super().__init__()
        self.text_model = model.text_model
        self.text_projection = model.text_projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Three int64 [batch, seq_len] in, f32 [batch, projection_dim] out; the mask is 1 where there is a token."""
        output = self.text_model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids, return_dict=True
        )
        projected = self.text_projection(output.last_hidden_state[:, 0])  # [batch, projection_dim]
        return nn.functional.normalize(projected, dim=-1)


class ImageEmbedder(nn.Module):
    """Projected, unit-length embedding of token 0 of the image encoder."""

    def __init__(self, model: FlavaModel) -> None:
        super().__init__()
        self.image_model = model.image_model
        self.image_projection = model.image_projection

    def forward(self, pixel_values: Tensor) -> Tensor:
        """f32 [batch, 3, image_size, image_size] in, f32 [batch, projection_dim] out."""
        output = self.image_model(pixel_values=pixel_values, return_dict=True)
        projected = self.image_projection(output.last_hidden_state[:, 0])  # [batch, projection_dim]
        return nn.functional.normalize(projected, dim=-1)


def export_onnx(checkpoint: Path, out: Path) -> None:
    """Write text.onnx and image.onnx into `out`."""
    model = FlavaForPreTraining.from_pretrained(checkpoint, dtype=torch.float32).eval().flava
    out.mkdir(parents=True, exist_ok=True)
    tokens = torch.ones(2, 9, dtype=torch.int64)  # [batch, seq_len]
    size: int = json.loads((checkpoint / "config.json").read_text())["image_config"]["image_size"]
    text_axes = {0: "batch", 1: "seq_len"}
    write_onnx(
        TextEmbedder(model),
        (tokens, torch.ones_like(tokens), torch.zeros_like(tokens)),
        out / "text.onnx",
        {"input_ids": text_axes, "attention_mask": text_axes, "token_type_ids": text_axes},
    )
    write_onnx(
        ImageEmbedder(model), (torch.zeros(2, 3, size, size),), out / "image.onnx", {"pixel_values": {0: "batch"}}
    )


def write_onnx(module: nn.Module, example: tuple[Tensor, ...], path: Path, inputs: dict[str, dict[int, str]]) -> None:
    """Trace and write one encoder.

    The tracing exporter is used although torch calls it legacy: its successor needs onnxscript, a further dependency.
    """
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            example,
            str(path),
            input_names=list(inputs),
            output_names=["embeddings"],
            dynamic_axes={**inputs, "embeddings": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    logger.info("%s: %.1f MB", path, path.stat().st_size / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write both encoders of a FLAVA checkpoint as ONNX.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    export_onnx(arguments.checkpoint, arguments.out)


if __name__ == "__main__":
    main()
