"""Estimates what each scheme of each Linear costs the embedding: the knowledge that allocation shares bytes out by.

One walk through the fp32 encoder, a layer at a time, measures two things of every Linear: how much output error each
scheme leaves on the calibration inputs (GPTQ on a sample of the channels), and how much of an output error arrives at
the embedding (a few probe inputs for which that Linear alone is rounded coarsely). Errors of different Linears are
taken to add up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from flava_gpu import quantize
from flava_gpu.calibration import calibration_pictures, calibration_texts, quantized_rows
from flava_gpu.checkpoint_reader import CheckpointReader
from flava_gpu.encoder_forward import (
    ApplyLinears,
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
from flava_gpu.folding import FOLDABLE, choose_fold, no_fold
from flava_gpu.linear_fit import FitOptions, InputStatistics, even_weights
from flava_gpu.package_layout import BLOCK_LINEARS, PATCHES, WORD_EMBEDDINGS, Encoder, block_name, encoder_config
from flava_gpu.packing import FloatArray
from flava_gpu.schemes import LinearScheme

PROBE_TOKENS = 600
"""Tokens of the probe inputs. Each Linear's own version of them is carried to the end: 73 streams at the full geometry."""
PROBE_BITS = 3
"""Coarse enough to stand out from float noise, fine enough for the damage to be linear in the squared error."""
SAMPLED_CHANNELS = 64
"""Output channels, 8 panels, that stand for all when the schemes' output errors are estimated."""

Choices = Mapping[str, tuple[LinearScheme, ...]]
Damage = dict[str, dict[LinearScheme, float]]
"""By Linear and scheme: the estimated mean of 1 - cosine that it adds."""


class DamageEstimator:
    """One encoder's walk. `choices` names the schemes to estimate; a Linear without choices is skipped."""

    def __init__(self, reader: CheckpointReader, encoder: Encoder, choices: Choices) -> None:
        self.reader, self.choices = reader, choices
        self.encoder: Encoder = encoder
        self.config = encoder_config(reader.config, encoder)
        self.errors: Damage = {}
        """Mean squared output error by scheme."""
        self.probe_errors: dict[str, float] = {}
        self.probed: list[str] = []
        """The Linear that each probe stream but the first has coarsely rounded."""

    @torch.inference_mode()
    def estimate(self, *, show_progress: bool = False) -> Damage:
        hidden, probes = self._embed()
        for layer in tqdm(range(self.config["num_hidden_layers"]), f"{self.encoder} damage", disable=not show_progress):
            block = block_name(self.encoder, layer)
            names = [f"{block}.{name}" for name in BLOCK_LINEARS]
            probes += [probes[0]] * len(names)
            self.probed += names
            norms, heads = block_norms(self.reader, self.encoder, layer), self.config["num_attention_heads"]
            (hidden,) = run_block(norms, heads, [hidden], self.spans, self._measure(block))
            probes = run_block(norms, heads, probes, self.probe_spans, self._probe(block))
        vectors = self._project(hidden, probes)
        lost = [1 - float(torch.cosine_similarity(vectors[0], vector, dim=1).mean()) for vector in vectors[1:]]
        return {
            name: {scheme: loss / self.probe_errors[name] * error for scheme, error in self.errors[name].items()}
            for name, loss in zip(self.probed, lost, strict=True)
            if name in self.choices
        }

    def _embed(self) -> tuple[Tensor, Streams]:
        if self.encoder == "text":
            texts = calibration_texts(self.reader)
            lengths = [len(text.input_ids) for text in texts]
            table = self.reader.tensor(f"{WORD_EMBEDDINGS}.weight")
            hidden = embed_texts(self.reader, texts, lambda ids: torch.from_numpy(table[ids.numpy()]))
            probes = [hidden]
        else:
            pictures = calibration_pictures(self.reader)
            tokens = (self.config["image_size"] // self.config["patch_size"]) ** 2 + 1
            lengths = [tokens] * len(pictures)
            rows = flatten_patches(pictures, self.config["patch_size"])
            self._measure("")((PATCHES,), [rows], None)
            self.probed.append(PATCHES)
            changed = self._probe("")((PATCHES,), [rows, rows], None)[0]
            probes = [embed_patches(self.reader, stream) for stream in changed]
            hidden = probes[0]
        self.spans = Spans.of_lengths(lengths)
        picked = probe_inputs(lengths)
        rows_of = [torch.arange(lengths[index]) + self.spans.first_rows[index] for index in picked]
        self.probe_spans = Spans.of_lengths([lengths[index] for index in picked])
        return hidden, [stream[torch.cat(rows_of)] for stream in probes]

    def _project(self, hidden: Tensor, probes: Streams) -> Streams:
        norm = read_norm(self.reader, f"{self.encoder}_model.layernorm", self.config["layer_norm_eps"])
        name = f"{self.encoder}_projection"
        self._measure("")((name,), [norm(hidden[self.spans.first_rows])], None)
        self.probed.append(name)
        probes = [*probes, probes[0]]
        return self._probe("")((name,), [norm(stream[self.probe_spans.first_rows]) for stream in probes], None)[0]

    def _measure(self, block: str) -> ApplyLinears:
        """Runs the fp32 Linears and notes each scheme's output error."""

        def apply(names: tuple[str, ...], inputs: Streams, residual: Streams | None) -> list[Streams]:
            chosen = [name for name in full_names(block, names) if name in self.choices]
            linears = {name: linear_weight(self.reader, name) for name in full_names(block, names)}
            weights = even_weights(len(inputs[0]))
            fold = no_fold(inputs[0].shape[1])
            if names[0] in FOLDABLE and chosen:
                fold = choose_fold(inputs[0], weights, [(self.choices[name][0], linears[name]) for name in chosen])
            rows = quantized_rows(fold.rows(inputs[0]))
            statistics = InputStatistics(rows, rows, weights, FitOptions(corrects_bias=False))
            outputs: list[Streams] = []
            for name, weight in linears.items():
                if name in self.choices:
                    self.errors[name] = sampled_errors(statistics, fold.weight(weight), self.choices[name])
                outputs.append([self._linear(name, weight, inputs[0])])
            return outputs

        return apply

    def _probe(self, block: str) -> ApplyLinears:
        """Runs the probe streams; the one that belongs to a Linear gets its coarse weight."""

        def apply(names: tuple[str, ...], inputs: Streams, residual: Streams | None) -> list[Streams]:
            outputs: list[Streams] = []
            for name in full_names(block, names):
                weight = linear_weight(self.reader, name)
                streams = list(self._linear(name, weight, torch.cat(inputs)).split(len(inputs[0])))
                position = 1 + self.probed.index(name)
                error = F.linear(inputs[position], torch.from_numpy(coarse_error(weight)))
                self.probe_errors[name] = float(error.square().sum(dim=1).mean())
                streams[position] = streams[position] + error
                outputs.append(streams)
            return outputs

        return apply

    def _linear(self, name: str, weight: FloatArray, rows: Tensor) -> Tensor:
        return F.linear(rows, torch.from_numpy(weight), torch.from_numpy(linear_bias(self.reader, name)))


def full_names(block: str, names: tuple[str, ...]) -> list[str]:
    return [f"{block}.{name}" if block else name for name in names]


def probe_inputs(lengths: list[int]) -> list[int]:
    """Inputs spread over all lengths with about PROBE_TOKENS tokens together."""
    count = max(2, min(len(lengths), round(PROBE_TOKENS * len(lengths) / sum(lengths))))
    return [int(index) for index in np.linspace(0, len(lengths) - 1, count)]


def sampled_errors(
    statistics: InputStatistics, weight: FloatArray, schemes: tuple[LinearScheme, ...]
) -> dict[LinearScheme, float]:
    """Mean squared norm of the outputs' error for each scheme, from a sample of panels scaled up to all channels."""
    n = len(weight)
    step = max(1, n // SAMPLED_CHANNELS)
    sample = np.ascontiguousarray(weight[::step][: max(8, n // step // 8 * 8)])
    errors: dict[LinearScheme, float] = {}
    for scheme in schemes:
        rounded = quantize.quantize_linear(scheme, sample, statistics.moments, statistics.compensator)
        difference = rounded.dequantized().astype(np.float64) - sample
        errors[scheme] = quantize.output_energy(difference, statistics.moments) * n / len(sample)
    return errors


def coarse_error(weight: FloatArray) -> FloatArray:
    """The error of PROBE_BITS per channel, [n, k]."""
    step = np.abs(weight).max(axis=1, keepdims=True) / (2 ** (PROBE_BITS - 1))
    step = np.where(step == 0, 1, step)
    return (np.rint(weight / step) * step - weight).astype(np.float32)
