"""Turns a Hugging Face FLAVA checkpoint into the package that the edge encoders load.

    PYTHONPATH=gpu .venv/bin/python -m flava_gpu.export --checkpoint models/flava-emoji/checkpoint --out models/flava-emoji

The same checkpoint and rounding always give the same bytes. Knows nothing of how well the package does: parity is measured by
tools/export.ts, through the engine that will run it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from flava_gpu import quantize
from flava_gpu.augment import IMAGE_MEAN, IMAGE_STD
from flava_gpu.calibration import Moments, input_moments
from flava_gpu.file_hash import sha256_of_file
from flava_gpu.made_up_texts import PAIR_LENGTH
from flava_gpu.quantize import FloatArray

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
POOLING = "cls-projected"
PIL_BICUBIC = 3
DTYPE_NAMES = {"uint8": "U8", "int8": "I8", "float32": "F32"}

BLOCK_LINEARS = (
    "attention.attention.query",
    "attention.attention.key",
    "attention.attention.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
Rounding = Literal["nearest", "compensated"]
"""`nearest` gives the same bytes on every machine; `compensated` halves the error of the vectors, and a code here and
there may depend on the machine's linear algebra library."""
Json = dict[str, Any]
Tensor = tuple[str, NDArray[Any]]


@dataclass(frozen=True)
class TensorReport:
    """How far one quantized tensor is from the checkpoint's."""

    name: str
    relative_error: float
    size_bytes: int


@dataclass(frozen=True)
class ExportReport:
    checkpoint: str
    space: str
    weights: str
    rounding: Rounding
    tensors: list[TensorReport]
    bytes_by_part: dict[str, int]


class Checkpoint:
    """A checkpoint's tensors under FlavaModel's names, upcast to float32, and how its Linears are to be rounded."""

    def __init__(self, directory: Path, rounding: Rounding = "nearest") -> None:
        self.directory = directory
        self.moments: Moments | None = input_moments(directory) if rounding == "compensated" else None
        self.config: Json = json.loads((directory / "config.json").read_text())
        self.weights_path = directory / "model.safetensors"
        with safe_open(self.weights_path, framework="numpy") as tensors:
            names = list(tensors.keys())
            self._tensors = {name.removeprefix("flava."): tensors.get_tensor(name) for name in names}

    def sha256(self) -> str:
        return sha256_of_file(self.weights_path)

    def tensor(self, name: str) -> FloatArray:
        if name not in self._tensors:
            raise ValueError(f"{self.weights_path.name}: tensor {name} is missing")
        return np.ascontiguousarray(self._tensors[name].astype(np.float32))


def export_package(
    checkpoint_dir: Path, out_dir: Path, license_id: str, rounding: Rounding = "nearest"
) -> ExportReport:
    """Write config.json, tokenizer.json, preprocessor_config.json and model.safetensors of a package."""
    checkpoint = Checkpoint(checkpoint_dir, rounding)
    out_dir.mkdir(parents=True, exist_ok=True)
    tensors = list(package_tensors(checkpoint))
    weights = write_safetensors(out_dir / "model.safetensors", tensors)

    tokenizer_path = out_dir / "tokenizer.json"
    shutil.copyfile(checkpoint_dir / "tokenizer.json", tokenizer_path)
    preprocessing = preprocessor_config(checkpoint.config)
    write_json(out_dir / "preprocessor_config.json", preprocessing)

    checkpoint_sha256 = checkpoint.sha256()
    max_text_length = min(PAIR_LENGTH, checkpoint.config["text_config"]["max_position_embeddings"])
    text_processing = {"tokenizer": sha256_of_file(tokenizer_path), "max_length": max_text_length}
    space = space_id(checkpoint_sha256, checkpoint.config, preprocessing, text_processing)
    edge_config = {
        "format_version": FORMAT_VERSION,
        "scheme": quantize.SCHEME,
        "space": space,
        "weights": weights,
        "checkpoint": checkpoint_sha256,
        "max_text_length": max_text_length,
        "pooling": POOLING,
        "license": license_id,
    }
    write_json(out_dir / "config.json", {**checkpoint.config, "flava_edge": edge_config})
    return ExportReport(
        checkpoint_sha256, space, weights, rounding, tensor_reports(checkpoint, tensors), bytes_by_part(tensors)
    )


def space_id(checkpoint_sha256: str, config: Json, preprocessing: Json, text_processing: Json) -> str:
    """Vectors may be compared when, and only when, this is equal: 16 hex digits over all that decides their meaning."""
    identity = {
        "checkpoint": checkpoint_sha256,
        "pooling": POOLING,
        "projection": {"size": config["projection_dim"]},
        "preprocessing": {"image": preprocessing, "text": text_processing},
        # What the tensors' shapes do not say.
        "encoders": {
            part: {field: config[part][field] for field in ("num_attention_heads", "layer_norm_eps")}
            for part in ("text_config", "image_config")
        },
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def preprocessor_config(config: Json) -> Json:
    """What a picture goes through before the encoder, as FlavaImageProcessor's fields."""
    size = config["image_config"]["image_size"]
    return {
        "image_processor_type": "FlavaImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": PIL_BICUBIC,
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
    }


def package_tensors(checkpoint: Checkpoint) -> Iterator[Tensor]:
    """Every tensor of a package, text before images, in the order of the forward pass."""
    yield from text_tensors(checkpoint)
    yield from image_tensors(checkpoint)


def text_tensors(checkpoint: Checkpoint) -> Iterator[Tensor]:
    embeddings = "text_model.embeddings"
    rows = quantize.quantize_rows(checkpoint.tensor(f"{embeddings}.word_embeddings.weight"))
    yield f"{embeddings}.word_embeddings.weight", rows.codes
    yield f"{embeddings}.word_embeddings.weight_scale", rows.scale
    yield from float_tensors(
        checkpoint,
        f"{embeddings}.position_embeddings.weight",
        f"{embeddings}.token_type_embeddings.weight",
        f"{embeddings}.LayerNorm.weight",
        f"{embeddings}.LayerNorm.bias",
    )
    yield from encoder_tensors(checkpoint, "text_model", checkpoint.config["text_config"]["num_hidden_layers"])
    yield from linear_tensors(checkpoint, "text_projection")


def image_tensors(checkpoint: Checkpoint) -> Iterator[Tensor]:
    embeddings = "image_model.embeddings"
    yield from float_tensors(checkpoint, f"{embeddings}.cls_token", f"{embeddings}.position_embeddings")
    yield from linear_tensors(checkpoint, f"{embeddings}.patch_embeddings.projection")
    yield from encoder_tensors(checkpoint, "image_model", checkpoint.config["image_config"]["num_hidden_layers"])
    yield from linear_tensors(checkpoint, "image_projection")


def encoder_tensors(checkpoint: Checkpoint, model: str, num_hidden_layers: int) -> Iterator[Tensor]:
    for layer in range(num_hidden_layers):
        block = f"{model}.encoder.layer.{layer}"
        for norm in ("layernorm_before", "layernorm_after"):
            yield from float_tensors(checkpoint, f"{block}.{norm}.weight", f"{block}.{norm}.bias")
        for linear in BLOCK_LINEARS:
            yield from linear_tensors(checkpoint, f"{block}.{linear}")
    yield from float_tensors(checkpoint, f"{model}.layernorm.weight", f"{model}.layernorm.bias")


def linear_tensors(checkpoint: Checkpoint, name: str) -> Iterator[Tensor]:
    weight = linear_weight(checkpoint, name)
    quantize.check_packable(f"{name}.weight", (weight.shape[0], weight.shape[1]))
    quantized = quantize.quantize_linear(weight, checkpoint.moments[name] if checkpoint.moments else None)
    yield f"{name}.weight", quantized.packed
    yield f"{name}.weight_scale", quantized.scale
    yield f"{name}.bias", checkpoint.tensor(f"{name}.bias")


def float_tensors(checkpoint: Checkpoint, *names: str) -> Iterator[Tensor]:
    for name in names:
        yield name, checkpoint.tensor(name)


def linear_weight(checkpoint: Checkpoint, name: str) -> FloatArray:
    """[out, in]; the patch convolution flattened in its own order (channel, dy, dx)."""
    weight = checkpoint.tensor(f"{name}.weight")
    return weight.reshape(weight.shape[0], -1)


def tensor_reports(checkpoint: Checkpoint, tensors: list[Tensor]) -> list[TensorReport]:
    """Relative error of each quantized tensor against the checkpoint's."""
    by_name = dict(tensors)
    reports: list[TensorReport] = []
    for name, stored in tensors:
        if stored.dtype == np.float32:
            continue
        scale = by_name[f"{name}_scale"]
        if stored.dtype == np.int8:
            approximation = quantize.dequantize_rows(quantize.QuantizedRows(stored, scale))
        else:
            approximation = quantize.dequantize_linear(quantize.QuantizedLinear(stored, scale))
        original = checkpoint.tensor(name).reshape(approximation.shape)
        error = quantize.relative_error(original, approximation)
        reports.append(TensorReport(name, error, stored.nbytes + scale.nbytes))
    return reports


def bytes_by_part(tensors: list[Tensor]) -> dict[str, int]:
    """Bytes of tensor data for each part that a reader of the parity report asks about."""
    parts: dict[str, int] = {}
    for name, stored in tensors:
        part = ".".join(name.split(".")[:2]) if "_model." in name else name.split(".")[0]
        parts[part] = parts.get(part, 0) + stored.nbytes
    return parts


def write_safetensors(path: Path, tensors: list[Tensor]) -> str:
    """Write tensors in the order given (the safetensors package would sort them) and return the file's sha256."""
    header: Json = {
        "__metadata__": {"format": "flava-edge", "format_version": str(FORMAT_VERSION), "scheme": quantize.SCHEME}
    }
    offset = 0
    for name, stored in tensors:
        header[name] = {
            "dtype": DTYPE_NAMES[str(stored.dtype)],
            "shape": list(stored.shape),
            "data_offsets": [offset, offset + stored.nbytes],
        }
        offset += stored.nbytes
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)

    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in (len(encoded).to_bytes(8, "little"), encoded, *(stored.tobytes() for _, stored in tensors)):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def write_json(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def report_json(report: ExportReport) -> Json:
    return {
        "checkpoint": report.checkpoint,
        "space": report.space,
        "weights": report.weights,
        "rounding": report.rounding,
        "tensors": {tensor.name: round(tensor.relative_error, 6) for tensor in report.tensors},
        "bytes": report.bytes_by_part,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Quantize a FLAVA checkpoint into an edge package.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="directory with config.json, model.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="package directory to write")
    parser.add_argument("--license", default="apache-2.0", help="SPDX id of the weights' licence")
    parser.add_argument("--rounding", choices=get_args(Rounding), default="nearest")
    parser.add_argument("--report", type=Path, help="also write what the parity report needs, as JSON")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    report = export_package(arguments.checkpoint, arguments.out, arguments.license, arguments.rounding)
    if arguments.report is not None:
        write_json(arguments.report, report_json(report))
    logger.info("package %s: space %s, weights %s", arguments.out, report.space, report.weights)


if __name__ == "__main__":
    main()
