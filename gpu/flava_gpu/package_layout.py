"""Which tensors each file of a package holds, in the order of the forward pass, with dtype, shape and part.

Names are FlavaModel's. src/flava/package-layout.ts reads the same list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from flava_gpu.schemes import (
    EMBEDDING_SCHEMES,
    LINEAR_SCHEMES,
    PANEL,
    EmbeddingScheme,
    LinearScheme,
    check_embedding,
    check_linear,
)

Encoder = Literal["text", "image"]
ENCODERS: tuple[Encoder, ...] = ("text", "image")
Part = Literal["word_embeddings", "other_embeddings", "attention", "feed_forward", "norms_and_biases", "projection"]

BLOCK_NORMS = ("layernorm_before", "layernorm_after")
ATTENTION_LINEARS = (
    "attention.attention.query",
    "attention.attention.key",
    "attention.attention.value",
    "attention.output.dense",
)
FEED_FORWARD_LINEARS = ("intermediate.dense", "output.dense")
BLOCK_LINEARS = (*ATTENTION_LINEARS, *FEED_FORWARD_LINEARS)
WORD_EMBEDDINGS = "text_model.embeddings.word_embeddings"
PATCHES = "image_model.embeddings.patch_embeddings.projection"

DTYPE_BYTES = {"U8": 1, "I8": 1, "BF16": 2, "F32": 4}
Config = dict[str, Any]


@dataclass(frozen=True)
class SchemePlan:
    """How each quantized tensor is stored, by its name without `.weight`."""

    embedding: EmbeddingScheme
    linears: Mapping[str, LinearScheme]

    def by_name(self) -> dict[str, str]:
        return {WORD_EMBEDDINGS: self.embedding, **self.linears}


@dataclass(frozen=True)
class TensorSpec:
    name: str
    dtype: str
    shape: tuple[int, ...]
    part: Part

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True)
class LinearSpec:
    """A Linear of an encoder, and the patch convolution as one: weight [n, k]."""

    name: str
    n: int
    k: int
    part: Part


def encoder_config(config: Config, encoder: Encoder) -> Config:
    return config[f"{encoder}_config"]


def encoder_linears(config: Config, encoder: Encoder) -> list[LinearSpec]:
    """All Linears of an encoder in the order of the forward pass."""
    sizes = encoder_config(config, encoder)
    hidden, wide = sizes["hidden_size"], sizes["intermediate_size"]
    linears: list[LinearSpec] = []
    if encoder == "image":
        linears.append(
            LinearSpec(PATCHES, hidden, sizes["num_channels"] * sizes["patch_size"] ** 2, "other_embeddings")
        )
    for layer in range(sizes["num_hidden_layers"]):
        block = block_name(encoder, layer)
        linears += [LinearSpec(f"{block}.{name}", hidden, hidden, "attention") for name in ATTENTION_LINEARS]
        linears.append(LinearSpec(f"{block}.intermediate.dense", wide, hidden, "feed_forward"))
        linears.append(LinearSpec(f"{block}.output.dense", hidden, wide, "feed_forward"))
    linears.append(LinearSpec(f"{encoder}_projection", config["projection_dim"], hidden, "projection"))
    return linears


def block_name(encoder: Encoder, layer: int) -> str:
    return f"{encoder}_model.encoder.layer.{layer}"


def file_layout(config: Config, encoder: Encoder, plan: SchemePlan) -> list[TensorSpec]:
    """Every tensor of `text.safetensors` or `image.safetensors`. Raises ValueError for a shape its scheme cannot hold."""
    return [*_embedding_specs(config, encoder, plan), *_block_specs(config, encoder, plan)]


def _embedding_specs(config: Config, encoder: Encoder, plan: SchemePlan) -> Iterator[TensorSpec]:
    sizes = encoder_config(config, encoder)
    hidden, embeddings = sizes["hidden_size"], f"{encoder}_model.embeddings"
    if encoder == "text":
        yield from _word_specs(plan.embedding, sizes["vocab_size"], hidden)
        positions = sizes["max_position_embeddings"]
        yield _f32(f"{embeddings}.position_embeddings.weight", "other_embeddings", positions, hidden)
        yield _f32(f"{embeddings}.token_type_embeddings.weight", "other_embeddings", sizes["type_vocab_size"], hidden)
        yield from _norm_specs(f"{embeddings}.LayerNorm", hidden)
    else:
        num_patches = (sizes["image_size"] // sizes["patch_size"]) ** 2
        yield _f32(f"{embeddings}.cls_token", "other_embeddings", 1, 1, hidden)
        yield _f32(f"{embeddings}.position_embeddings", "other_embeddings", 1, num_patches + 1, hidden)


def _block_specs(config: Config, encoder: Encoder, plan: SchemePlan) -> Iterator[TensorSpec]:
    hidden = encoder_config(config, encoder)["hidden_size"]
    first = f"{BLOCK_LINEARS[0]}"
    for linear in encoder_linears(config, encoder):
        if linear.name.endswith(first):
            block = linear.name.removesuffix(f".{first}")
            for norm in BLOCK_NORMS:
                yield from _norm_specs(f"{block}.{norm}", hidden)
        if linear.part == "projection":
            yield from _norm_specs(f"{encoder}_model.layernorm", hidden)
        yield from _linear_specs(linear, plan.linears[linear.name])


def _word_specs(scheme: EmbeddingScheme, rows: int, hidden: int) -> Iterator[TensorSpec]:
    check_embedding(f"{WORD_EMBEDDINGS}.weight", scheme, hidden)
    spec = EMBEDDING_SCHEMES[scheme]
    scale_shape = (rows,) if spec.group is None else (rows, hidden // spec.group)
    yield TensorSpec(f"{WORD_EMBEDDINGS}.weight", spec.dtype, (rows, hidden * spec.bits // 8), "word_embeddings")
    yield TensorSpec(f"{WORD_EMBEDDINGS}.weight_scale", spec.scale_dtype, scale_shape, "word_embeddings")


def _linear_specs(linear: LinearSpec, scheme: LinearScheme) -> Iterator[TensorSpec]:
    check_linear(f"{linear.name}.weight", scheme, (linear.n, linear.k))
    spec, n, k = LINEAR_SCHEMES[scheme], linear.n, linear.k
    scale_shape = (n,) if spec.group is None else (n // PANEL, k // spec.group, PANEL)
    yield TensorSpec(f"{linear.name}.weight", spec.dtype, (n, k * spec.bits // 8), linear.part)
    yield TensorSpec(f"{linear.name}.weight_scale", spec.scale_dtype, scale_shape, linear.part)
    yield _f32(f"{linear.name}.bias", "norms_and_biases", n)


def _norm_specs(name: str, hidden: int) -> Iterator[TensorSpec]:
    yield _f32(f"{name}.weight", "norms_and_biases", hidden)
    yield _f32(f"{name}.bias", "norms_and_biases", hidden)


def _f32(name: str, part: Part, *shape: int) -> TensorSpec:
    return TensorSpec(name, "F32", shape, part)
