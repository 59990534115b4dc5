"""What int8 activations cost with exact weights, and what shifting and scaling channels before would leave of it:

    PYTHONPATH=gpu .venv/bin/python gpu/scripts/measure_activations.py --checkpoint build/standin --encoder image --inputs 4

Prints, for each kind of Linear in the first, middle and last block, the relative error of its int8 inputs (against their
part that varies); then the cosine of the vectors when only that kind's inputs are int8. docs/quantization.md has the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from flava_gpu.calibration import quantized_rows
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.encoder_forward import (
    Spans,
    Streams,
    block_norms,
    embed_patches,
    embed_texts,
    flatten_patches,
    read_norm,
    run_block,
)
from flava_gpu.encoder_quantizer import linear_bias, linear_weight
from flava_gpu.package_layout import PATCHES, WORD_EMBEDDINGS, Encoder, block_name, encoder_config
from flava_gpu.parity_inputs import normalize_pictures, parity_texts
from flava_gpu.procedural_pictures import procedural_pictures

KINDS = {
    "attention.attention.query": "qkv",
    "attention.output.dense": "attention output",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
}
EVERYTHING = (*KINDS.values(), "projection")
CASES = ((), EVERYTHING, *((kind,) for kind in EVERYTHING))
"""What is int8 in each stream; the first is exact."""


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description="Costs of int8 activations with exact weights.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--encoder", choices=["text", "image"], required=True)
    parser.add_argument("--inputs", type=int, default=16)
    arguments = parser.parse_args()
    reader, encoder = CheckpointReader(arguments.checkpoint), arguments.encoder
    config = encoder_config(reader.config, encoder)
    hidden, spans = embed(reader, encoder, arguments.inputs)
    streams = [hidden] * len(CASES)
    layers = config["num_hidden_layers"]
    for layer in range(layers):

        def apply(
            names: tuple[str, ...], inputs: Streams, residual: Streams | None, layer: int = layer
        ) -> list[Streams]:
            kind = KINDS[names[0]]
            if layer in (0, layers // 2, layers - 1):
                print(f"{encoder} block {layer} {kind}: {input_errors(inputs[0])}", flush=True)
            return [linear(reader, f"{block_name(encoder, layer)}.{name}", kind, inputs) for name in names]

        norms = block_norms(reader, encoder, layer)
        streams = run_block(norms, config["num_attention_heads"], streams, spans, apply)
    norm = read_norm(reader, f"{encoder}_model.layernorm", config["layer_norm_eps"])
    rows = [norm(stream[spans.first_rows]) for stream in streams]
    vectors = linear(reader, f"{encoder}_projection", "projection", rows)
    for case, vector in zip(CASES, vectors, strict=True):
        cosines = torch.cosine_similarity(vectors[0], vector, dim=1)
        print(f"{encoder} int8 in {', '.join(case) or 'nothing'}: mean {cosines.mean():.5f} min {cosines.min():.5f}")


def embed(reader: CheckpointReader, encoder: Encoder, count: int) -> tuple[Tensor, Spans]:
    """Embedding outputs [rows, hidden_size] of parity's inputs."""
    if encoder == "text":
        texts = parity_texts(reader.directory)
        texts = texts[:: max(1, len(texts) // count)][:count]
        table = torch.from_numpy(reader.tensor(f"{WORD_EMBEDDINGS}.weight"))
        hidden = embed_texts(reader, texts, lambda ids: table[ids])
        return hidden, Spans.of_lengths([len(text.input_ids) for text in texts])
    config = encoder_config(reader.config, encoder)
    pixel_values = normalize_pictures(procedural_pictures(count, config["image_size"]))
    patches = flatten_patches(pixel_values, config["patch_size"])
    weight = linear_weight(reader, PATCHES)
    bias = torch.from_numpy(reader.tensor(f"{PATCHES}.bias"))
    hidden = embed_patches(reader, F.linear(patches, torch.from_numpy(weight), bias))
    return hidden, Spans.of_lengths([len(hidden) // count] * count)


def linear(reader: CheckpointReader, name: str, kind: str, inputs: Streams) -> Streams:
    weight = linear_weight(reader, name)
    bias = torch.from_numpy(linear_bias(reader, name))
    return [
        F.linear(quantized_rows(rows) if kind in case else rows, torch.from_numpy(weight), bias)
        for case, rows in zip(CASES, inputs, strict=True)
    ]


def input_errors(rows: Tensor) -> str:
    """Relative errors of int8 rows: as they are, with the channels' means taken out, scaled by their loudness, both."""
    centered = rows - rows.mean(dim=0)
    loud, centered_loud = (part.abs().amax(dim=0).clamp_min(1e-9).sqrt() for part in (rows, centered))
    errors = {
        "plain": quantized_rows(rows) - rows,
        "shift": quantized_rows(centered) - centered,
        "scale": (quantized_rows(rows / loud) - rows / loud) * loud,
        "both": (quantized_rows(centered / centered_loud) - centered / centered_loud) * centered_loud,
    }
    return " ".join(f"{name} {error.norm() / centered.norm():.4f}" for name, error in errors.items())


if __name__ == "__main__":
    main()
