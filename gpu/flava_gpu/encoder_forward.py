"""One encoder's forward pass in PyTorch, layer by layer, with the Linears left to the caller.

Several versions of the hidden states ("streams": as fp32 has them, as the quantized layers before have made them) go
through each layer side by side. Knows FLAVA's blocks (facts: pre-LN, erf GELU, one softmax) and no quantization; a test
holds it to transformers' own classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.made_up_texts import TokenizedText
from flava_gpu.package_layout import BLOCK_NORMS, Encoder, block_name, encoder_config

Streams = list[Tensor]
"""One [rows, hidden_size] per version; rows of all inputs one after the other."""
ApplyLinears = Callable[[tuple[str, ...], Streams, "Streams | None"], list[Streams]]
"""(names, inputs, residual) to the outputs, by name and stream. `residual` is what the output will be added to."""

QKV = ("attention.attention.query", "attention.attention.key", "attention.attention.value")
ATTENTION_BATCH = 16
"""Inputs per attention call: bounds the scores, 16 * 12 * 197^2 floats."""


@dataclass(frozen=True)
class Norm:
    weight: Tensor  # [hidden_size]
    bias: Tensor  # [hidden_size]
    eps: float

    def __call__(self, hidden: Tensor) -> Tensor:
        return F.layer_norm(hidden, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class Spans:
    """Which rows belong to which input: those of equal length together, so that attention takes them in one call."""

    groups: list[Tensor]  # each [inputs, seq_len]: row numbers
    first_rows: Tensor  # [inputs]: where token 0 of each input is, in the inputs' order

    @staticmethod
    def of_lengths(lengths: list[int]) -> Spans:
        lengths_tensor = torch.tensor(lengths)
        first_rows = torch.cumsum(lengths_tensor, 0) - lengths_tensor
        groups = [
            first_rows[lengths_tensor == length][:, None] + torch.arange(length)[None]
            for length in sorted(set(lengths))
        ]
        return Spans(groups, first_rows)


def read_norm(reader: CheckpointReader, name: str, eps: float) -> Norm:
    weight, bias = (torch.from_numpy(reader.tensor(f"{name}.{kind}")) for kind in ("weight", "bias"))
    return Norm(weight, bias, eps)


def block_norms(reader: CheckpointReader, encoder: Encoder, layer: int) -> tuple[Norm, Norm]:
    eps = encoder_config(reader.config, encoder)["layer_norm_eps"]
    before, after = (read_norm(reader, f"{block_name(encoder, layer)}.{norm}", eps) for norm in BLOCK_NORMS)
    return before, after


def run_block(norms: tuple[Norm, Norm], num_heads: int, hidden: Streams, spans: Spans, apply: ApplyLinears) -> Streams:
    """The hidden states after one block. `apply` is asked for the block's Linears in their order."""
    before, after = norms
    by_name = apply(QKV, [before(stream) for stream in hidden], None)
    context = [attend(query, key, value, num_heads, spans) for query, key, value in zip(*by_name, strict=True)]
    (attended,) = apply(("attention.output.dense",), context, hidden)
    hidden = [stream + change for stream, change in zip(hidden, attended, strict=True)]
    (wide,) = apply(("intermediate.dense",), [after(stream) for stream in hidden], None)
    activated = [F.gelu(stream) for stream in wide]
    del wide
    (narrow,) = apply(("output.dense",), activated, hidden)
    return [stream + change for stream, change in zip(hidden, narrow, strict=True)]


def attend(query: Tensor, key: Tensor, value: Tensor, num_heads: int, spans: Spans) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v within each input. All [rows, hidden_size]."""
    context = torch.empty_like(query)
    for group in spans.groups:
        for rows in group.split(ATTENTION_BATCH):  # [inputs, seq_len]
            heads = [part[rows].unflatten(2, (num_heads, -1)).transpose(1, 2) for part in (query, key, value)]
            scores = heads[0] @ heads[1].transpose(2, 3) / heads[0].shape[-1] ** 0.5
            context[rows] = (scores.softmax(dim=-1) @ heads[2]).transpose(1, 2).flatten(2)
    return context


def embed_texts(reader: CheckpointReader, texts: list[TokenizedText], words: Callable[[Tensor], Tensor]) -> Tensor:
    """LN(word + token type + position), [rows, hidden_size]. `words` maps ids [rows] to word embeddings."""
    embeddings = "text_model.embeddings"
    norm = read_norm(reader, f"{embeddings}.LayerNorm", encoder_config(reader.config, "text")["layer_norm_eps"])
    positions = torch.from_numpy(reader.tensor(f"{embeddings}.position_embeddings.weight"))
    token_types = torch.from_numpy(reader.tensor(f"{embeddings}.token_type_embeddings.weight"))
    ids = torch.tensor([index for text in texts for index in text.input_ids])
    types = torch.tensor([index for text in texts for index in text.token_type_ids])
    places = torch.cat([torch.arange(len(text.input_ids)) for text in texts])
    return norm(words(ids) + token_types[types] + positions[places])


def flatten_patches(pixel_values: Tensor, patch_size: int) -> Tensor:
    """f32 [n, 3, size, size] to [n * patches, 3 * patch_size^2], channel, dy, dx."""
    return F.unfold(pixel_values, patch_size, stride=patch_size).transpose(1, 2).flatten(0, 1)


def embed_patches(reader: CheckpointReader, projected: Tensor) -> Tensor:
    """[n * patches, hidden_size] to [n * (patches + 1), hidden_size]: class token in front, positions added."""
    embeddings = "image_model.embeddings"
    positions = torch.from_numpy(reader.tensor(f"{embeddings}.position_embeddings"))  # [1, patches + 1, hidden_size]
    cls_token = torch.from_numpy(reader.tensor(f"{embeddings}.cls_token"))  # [1, 1, hidden_size]
    patches = projected.unflatten(0, (-1, positions.shape[1] - 1))
    tokens = torch.cat([cls_token.expand(len(patches), -1, -1), patches], dim=1) + positions
    return tokens.flatten(0, 1)
