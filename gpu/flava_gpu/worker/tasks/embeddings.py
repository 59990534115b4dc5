"""Fused image and text vectors: the multimodal CLS, or every token, after the multimodal encoder's final layer norm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from flava_gpu.trained_heads import FUSION_HEADS
from flava_gpu.worker.job import JobError, JobResult, Usage
from flava_gpu.worker.tasks.gathered import Gathered, plan_each
from flava_gpu.worker.tasks.runtime import FlavaRuntime, Turn

Pair = tuple[int, int]


def run_embeddings(
    runtime: FlavaRuntime, inputs: Sequence[dict[str, Any]], turn: Turn = nullcontext
) -> list[JobResult | JobError]:
    """One answer for each `multimodal.embeddings.input`; all their items share the passes."""
    try:
        runtime.require(*FUSION_HEADS)
    except JobError as error:
        return [error] * len(inputs)
    gathered = Gathered(runtime)
    planned = plan_each(inputs, lambda one: plan_items(gathered, one))
    wanted: dict[Pair, bool] = {}  # whether somebody asks for all tokens of the pair
    for one, job in zip(inputs, planned, strict=True):
        for pair in job.plan or []:
            wanted[pair] = wanted.get(pair, False) or one["output"] == "hidden"
    states = fused_items(runtime, gathered, wanted, turn)
    results: list[JobResult | JobError] = []
    for one, job in zip(inputs, planned, strict=True):
        if job.plan is None:
            assert job.error is not None
            results.append(job.error)
        else:
            results.append(result_of(gathered, one, job.plan, states))
    return results


def plan_items(gathered: Gathered, one: dict[str, Any]) -> list[Pair]:
    return [
        (
            gathered.image(item["image"], f"items[{index}].image"),
            gathered.text(gathered.runtime.texts.read(item["text"])),
        )
        for index, item in enumerate(one["items"])
    ]


def fused_items(runtime: FlavaRuntime, gathered: Gathered, wanted: dict[Pair, bool], turn: Turn) -> dict[Pair, Tensor]:
    """On the CPU: f32 [1, hidden_size] of the CLS, or [tokens, hidden_size] for who wants them."""
    if not wanted:
        return {}
    images, texts = gathered.image_states(turn), gathered.text_states(turn)
    pairs = list(wanted)

    def take(states: Tensor, positions: range) -> list[Tensor]:
        rows: list[Tensor] = []
        for row, position in enumerate(positions):
            pair = pairs[position]
            length = 1 + gathered.image_tokens + len(texts[pair[1]]) if wanted[pair] else 1
            rows.append(states[row, :length].cpu())
        return rows

    return dict(
        zip(pairs, runtime.fuse([(images[image], texts[text]) for image, text in pairs], take, turn), strict=True)
    )


def result_of(gathered: Gathered, one: dict[str, Any], plan: list[Pair], states: dict[Pair, Tensor]) -> JobResult:
    items: list[dict[str, Any]] = []
    for pair in plan:
        tokens = gathered.tokens[pair[1]]
        vectors = states[pair] if one["output"] == "hidden" else states[pair][:1]
        if one["normalize"]:
            vectors = F.normalize(vectors, dim=-1)
        items.append(
            {
                "embedding": vectors.tolist() if one["output"] == "hidden" else vectors[0].tolist(),
                "text_tokens": len(tokens.input_ids),
                "image_tokens": gathered.image_tokens,
                "is_truncated": tokens.is_truncated,
            }
        )
    total = sum(item["text_tokens"] + item["image_tokens"] for item in items)
    return JobResult({"items": items}, Usage(total, len(items)))
