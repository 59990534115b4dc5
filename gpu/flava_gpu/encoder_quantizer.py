"""Walks an encoder of a checkpoint in the order of the forward pass and quantizes tensor by tensor.

Holds one layer's weights at a time. How codes are chosen is the rounder's business: NearestRounder looks at the weights
alone; calibrated_rounder.py's runs inputs through the layers on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from flava_gpu import quantize
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.package_file import NamedTensor
from flava_gpu.package_layout import (
    BLOCK_LINEARS,
    BLOCK_NORMS,
    PATCHES,
    WORD_EMBEDDINGS,
    Encoder,
    SchemePlan,
    block_name,
    encoder_config,
)
from flava_gpu.packing import FloatArray
from flava_gpu.quantize import QuantizedLinear, QuantizedRows


@dataclass(frozen=True)
class RoundedLinear:
    """A Linear as the package will hold it."""

    name: str
    weight: QuantizedLinear
    bias: FloatArray  # [n]
    relative_error: float
    output_error: float | None = None


@dataclass(frozen=True)
class RoundedBlock:
    """A block as the package will hold it, by the names of BLOCK_NORMS and BLOCK_LINEARS."""

    norms: dict[str, tuple[FloatArray, FloatArray]]
    """Weight and bias [hidden_size]; a rounder may have moved something between them and the Linears."""
    linears: dict[str, RoundedLinear]


@dataclass(frozen=True)
class TensorError:
    """How far one quantized tensor is from the checkpoint's; output_error needs calibration inputs."""

    relative_error: float
    output_error: float | None


class Rounder(Protocol):
    """Rounds the Linears of one encoder; called once each, in the order of the forward pass."""

    def words(self, rows: QuantizedRows) -> None:
        """Told how the word embeddings are stored, before anything else of the text encoder."""
        ...

    def patches(self) -> RoundedLinear: ...
    def block(self, layer: int) -> RoundedBlock: ...

    def projection(self) -> RoundedLinear: ...


class NearestRounder:
    """To nearest with clip search: the same bytes on every machine."""

    def __init__(self, reader: CheckpointReader, encoder: Encoder, plan: SchemePlan) -> None:
        self.reader, self.plan = reader, plan
        self.encoder: Encoder = encoder

    def words(self, rows: QuantizedRows) -> None:
        pass

    def patches(self) -> RoundedLinear:
        return self._round(PATCHES)

    def block(self, layer: int) -> RoundedBlock:
        block = block_name(self.encoder, layer)
        norms = {
            norm: (self.reader.tensor(f"{block}.{norm}.weight"), self.reader.tensor(f"{block}.{norm}.bias"))
            for norm in BLOCK_NORMS
        }
        return RoundedBlock(norms, {name: self._round(f"{block}.{name}") for name in BLOCK_LINEARS})

    def projection(self) -> RoundedLinear:
        return self._round(f"{self.encoder}_projection")

    def _round(self, name: str) -> RoundedLinear:
        weight = linear_weight(self.reader, name)
        rounded = quantize.quantize_linear(self.plan.linears[name], weight, name=f"{name}.weight")
        error = quantize.relative_error(weight, rounded.dequantized())
        return RoundedLinear(name, rounded, linear_bias(self.reader, name), error)


class EncoderQuantizer:
    """All tensors of one encoder's file, in its order; `errors` fills as they are taken."""

    def __init__(self, reader: CheckpointReader, encoder: Encoder, plan: SchemePlan, rounder: Rounder) -> None:
        self.reader, self.plan, self.rounder = reader, plan, rounder
        self.encoder: Encoder = encoder
        self.errors: dict[str, TensorError] = {}

    def tensors(self) -> Iterator[NamedTensor]:
        yield from self._text_embeddings() if self.encoder == "text" else self._image_embeddings()
        for layer in range(encoder_config(self.reader.config, self.encoder)["num_hidden_layers"]):
            block = block_name(self.encoder, layer)
            rounded = self.rounder.block(layer)
            for norm in BLOCK_NORMS:
                for kind, values in zip(("weight", "bias"), rounded.norms[norm], strict=True):
                    yield f"{block}.{norm}.{kind}", values
            for name in BLOCK_LINEARS:
                yield from self._linear(rounded.linears[name])
        yield from self._floats(*(f"{self.encoder}_model.layernorm.{kind}" for kind in ("weight", "bias")))
        yield from self._linear(self.rounder.projection())

    def _text_embeddings(self) -> Iterator[NamedTensor]:
        table = self.reader.tensor(f"{WORD_EMBEDDINGS}.weight")
        rows = quantize.quantize_rows(self.plan.embedding, table, WORD_EMBEDDINGS)
        self.errors[f"{WORD_EMBEDDINGS}.weight"] = TensorError(
            quantize.relative_error(table, rows.dequantized()), output_error=None
        )
        del table
        self.rounder.words(rows)
        yield f"{WORD_EMBEDDINGS}.weight", rows.packed()
        yield f"{WORD_EMBEDDINGS}.weight_scale", rows.packed_scale()
        del rows
        names = ("position_embeddings.weight", "token_type_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")
        yield from self._floats(*(f"text_model.embeddings.{name}" for name in names))

    def _image_embeddings(self) -> Iterator[NamedTensor]:
        embeddings = "image_model.embeddings"
        yield from self._floats(f"{embeddings}.cls_token", f"{embeddings}.position_embeddings")
        yield from self._linear(self.rounder.patches())

    def _linear(self, linear: RoundedLinear) -> Iterator[NamedTensor]:
        self.errors[f"{linear.name}.weight"] = TensorError(linear.relative_error, linear.output_error)
        yield f"{linear.name}.weight", linear.weight.packed()
        yield f"{linear.name}.weight_scale", linear.weight.packed_scale()
        yield f"{linear.name}.bias", linear.bias

    def _floats(self, *names: str) -> Iterator[NamedTensor]:
        for name in names:
            yield name, self.reader.tensor(name)


def linear_weight(reader: CheckpointReader, name: str) -> FloatArray:
    """[n, k]; the patch convolution flattened in its own order (channel, dy, dx)."""
    weight = reader.tensor(f"{name}.weight")
    return np.ascontiguousarray(weight.reshape(weight.shape[0], -1))


def linear_bias(reader: CheckpointReader, name: str) -> FloatArray:
    """[n]."""
    return reader.tensor(f"{name}.bias")
