"""Rounds an encoder's Linears one after the other on calibration inputs, each on what the quantized layers before it give.

Two streams of hidden states go through the layers: the checkpoint's in fp32, and the package's, with the weights rounded
so far and activations in int8 per token as the engine has them. linear_fit.py rounds each weight so that the second
stays close to the first. Holds one layer's weights and the streams.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from flava_gpu import quantize
from flava_gpu.calibration import calibration_pictures, calibration_texts, quantized_rows
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.encoder_forward import (
    Norm,
    Spans,
    Streams,
    block_norms,
    embed_patches,
    embed_texts,
    flatten_patches,
    read_norm,
    run_block,
)
from flava_gpu.encoder_quantizer import RoundedBlock, RoundedLinear, linear_bias, linear_weight
from flava_gpu.folding import FOLDABLE, Fold, choose_fold, no_fold
from flava_gpu.linear_fit import FitOptions, InputStatistics, even_weights
from flava_gpu.made_up_texts import TokenizedText
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
from flava_gpu.quantize import QuantizedRows
from flava_gpu.schemes import LinearScheme

QUERY, VALUE, ATTENTION_OUTPUT, INTERMEDIATE = BLOCK_LINEARS[0], BLOCK_LINEARS[2], BLOCK_LINEARS[3], BLOCK_LINEARS[4]

CLS_SHARE = 0.1
"""Weight of token 0 in the last block's attention output and feed-forward and in the projection: the vector comes from it
alone, but one row per input is far too few to learn from. With a share of 0.5 the fit was perfect on the calibration
inputs and worse than plain rounding on all others."""

CLS_FOLD_SHARE = 0.5
"""The same for the choice of a shift and a scale per channel, which has little to overfit with."""

PROJECTION_TERMS = 2
"""int8 terms per row in which the engine takes the projection's input."""

Inputs = list[TokenizedText] | Tensor
"""Texts, or pixel_values f32 [n, 3, size, size]."""


class CalibratedRounder:
    """The Rounder (see encoder_quantizer.py) of one encoder.

    `holdout` inputs go along without being learned from, to see what the package makes of inputs it was not fitted to.
    """

    def __init__(
        self,
        reader: CheckpointReader,
        encoder: Encoder,
        plan: SchemePlan,
        options: FitOptions | None = None,
        holdout: Inputs | None = None,
    ) -> None:
        self.reader, self.plan = reader, plan
        self.encoder: Encoder = encoder
        self.options = options or FitOptions()
        self.config = encoder_config(reader.config, encoder)
        self.holdout_count = 0 if holdout is None else len(holdout)
        self.texts: list[TokenizedText] = []
        self.pixel_values = torch.empty(0)
        if encoder == "text":
            self.texts = [*calibration_texts(reader), *(holdout if isinstance(holdout, list) else [])]
            lengths = [len(text.input_ids) for text in self.texts]
        else:
            held = [holdout] if isinstance(holdout, Tensor) else []
            self.pixel_values = torch.cat([calibration_pictures(reader), *held])
            tokens = (self.config["image_size"] // self.config["patch_size"]) ** 2 + 1
            lengths = [tokens] * len(self.pixel_values)
        self.spans = Spans.of_lengths(lengths)
        self.input_count = len(lengths) - self.holdout_count
        self.row_count = sum(lengths[: self.input_count])
        self.hidden: Streams = []
        self.vectors: Streams = []
        self._rounded: dict[str, RoundedLinear] = {}

    @torch.inference_mode()
    def words(self, rows: QuantizedRows) -> None:
        table = self.reader.tensor(f"{WORD_EMBEDDINGS}.weight")

        def exact(ids: Tensor) -> Tensor:
            return torch.from_numpy(table[ids.numpy()])

        def quantized(ids: Tensor) -> Tensor:
            picked = QuantizedRows(rows.scheme, rows.codes[ids.numpy()], rows.scale[ids.numpy()])
            return torch.from_numpy(picked.dequantized())

        self.hidden = [embed_texts(self.reader, self.texts, words) for words in (exact, quantized)]

    @torch.inference_mode()
    def patches(self) -> RoundedLinear:
        rows = flatten_patches(self.pixel_values, self.config["patch_size"])
        learned = len(rows) // len(self.pixel_values) * self.input_count
        self.pixel_values = torch.empty(0)
        (projected,) = self._apply((PATCHES,), [rows, rows], None, even_weights(learned))
        self.hidden = [embed_patches(self.reader, stream) for stream in projected]
        return self._rounded.pop(PATCHES)

    @torch.inference_mode()
    def block(self, layer: int) -> RoundedBlock:
        block = block_name(self.encoder, layer)
        every_row = even_weights(self.row_count)
        is_last = layer == self.config["num_hidden_layers"] - 1
        folds: dict[str, Fold] = {}

        def apply(names: tuple[str, ...], inputs: Streams, residual: Streams | None) -> list[Streams]:
            # Keys and values matter of every token; what comes after them in the last block, of token 0.
            is_of_token_0 = is_last and len(names) == 1
            weights = self._weights_with_cls_share(CLS_SHARE) if is_of_token_0 else every_row
            full_names = tuple(f"{block}.{name}" for name in names)
            fold = no_fold(inputs[0].shape[1])
            if self.options.is_folded and names[0] in FOLDABLE:
                fold_weights = self._weights_with_cls_share(CLS_FOLD_SHARE) if is_of_token_0 else every_row
                fold = self._choose_fold(full_names, inputs[0], fold_weights)
            folds[names[0]] = fold
            return self._apply(full_names, inputs, residual, weights, fold)

        before, after = block_norms(self.reader, self.encoder, layer)
        heads = self.config["num_attention_heads"]
        self.hidden = run_block((before, after), heads, self.hidden, self.spans, apply)
        linears = {name: self._rounded.pop(f"{block}.{name}") for name in BLOCK_LINEARS}
        linears[VALUE] = fold_values(linears[VALUE], folds[ATTENTION_OUTPUT])
        norms = (folds[QUERY].norm(before), folds[INTERMEDIATE].norm(after))
        return RoundedBlock({name: stored_norm(norm) for name, norm in zip(BLOCK_NORMS, norms, strict=True)}, linears)

    @torch.inference_mode()
    def projection(self) -> RoundedLinear:
        norm = read_norm(self.reader, f"{self.encoder}_model.layernorm", self.config["layer_norm_eps"])
        name = f"{self.encoder}_projection"
        weights = self._weights_with_cls_share(CLS_SHARE)
        (projected,) = self._apply(
            (name,), [norm(stream) for stream in self.hidden], None, weights, terms=PROJECTION_TERMS
        )
        self.vectors = [stream[self.spans.first_rows] for stream in projected]
        self.hidden = []
        return self._rounded.pop(name)

    def cosines(self, *, of_holdout: bool) -> NDArray[np.float32]:
        """Cosine of the package's vector to the checkpoint's, per input."""
        part = slice(self.input_count, None) if of_holdout else slice(self.input_count)
        exact, quantized = (stream[part] for stream in self.vectors)
        return torch.cosine_similarity(exact, quantized, dim=1).numpy()

    def _choose_fold(self, names: tuple[str, ...], exact: Tensor, weights: Tensor) -> Fold:
        schemes = self.plan.linears
        linears: list[tuple[LinearScheme, FloatArray]] = [
            (schemes[name], linear_weight(self.reader, name)) for name in names
        ]
        is_power_of_two = names[0].endswith(ATTENTION_OUTPUT)  # its values are rounded already
        return choose_fold(exact[: len(weights)], weights, linears, is_power_of_two=is_power_of_two)

    def _apply(
        self,
        names: tuple[str, ...],
        inputs: Streams,
        residual: Streams | None,
        weights: Tensor,
        fold: Fold | None = None,
        terms: int = 1,
    ) -> list[Streams]:
        """Round the Linears that share these inputs and run both streams through them."""
        fold = fold or no_fold(inputs[0].shape[1])
        exact, quantized = fold.rows(inputs[0]), quantized_rows(fold.rows(inputs[1]), terms)
        learned = slice(len(weights))
        statistics = InputStatistics(exact[learned], quantized[learned], weights, self.options)
        drift = None if residual is None else residual[0][learned] - residual[1][learned]
        outputs: list[Streams] = []
        for name in names:
            unfolded = linear_weight(self.reader, name)
            weight = fold.weight(unfolded)
            bias = fold.bias(unfolded, linear_bias(self.reader, name))
            fitted = statistics.fit(self.plan.linears[name], weight, bias, drift, f"{name}.weight")
            stored = fitted.weight.dequantized()
            error = quantize.relative_error(weight, stored)
            self._rounded[name] = RoundedLinear(name, fitted.weight, fitted.bias, error, fitted.output_error)
            outputs.append(
                [
                    F.linear(exact, torch.from_numpy(weight), torch.from_numpy(bias)),
                    F.linear(quantized, torch.from_numpy(stored), torch.from_numpy(fitted.bias)),
                ]
            )
        return outputs

    def _weights_with_cls_share(self, share: float) -> Tensor:
        weights = (1 - share) * even_weights(self.row_count)
        weights[self.spans.first_rows[: self.input_count]] += share / self.input_count
        return weights


def fold_values(values: RoundedLinear, fold: Fold) -> RoundedLinear:
    """The value Linear that gives the folded rows: powers of two go through its scales unrounded."""
    scale = (values.weight.scale / fold.scale.numpy()[:, None]).astype(np.float32)
    bias = ((values.bias - fold.shift.numpy()) / fold.scale.numpy()).astype(np.float32)
    return replace(values, weight=replace(values.weight, scale=scale), bias=bias)


def stored_norm(norm: Norm) -> tuple[FloatArray, FloatArray]:
    return norm.weight.numpy(), norm.bias.numpy()
