"""What /v1/embeddings answers, in full precision: retrieval vectors, or the encoders' own states, of texts and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flava_gpu.worker.job import JobError, JobResult, Usage
from flava_gpu.worker.tasks.gathered import Gathered, plan_each
from flava_gpu.worker.tasks.runtime import FlavaRuntime, Turn
from flava_gpu.worker.tasks.texts import Tokens


@dataclass(frozen=True)
class Item:
    """A place among the gathered pictures or texts."""

    is_image: bool
    place: int


def run_retrieval(
    runtime: FlavaRuntime, inputs: Sequence[dict[str, Any]], turn: Turn = nullcontext
) -> list[JobResult | JobError]:
    """One answer for each of `inputs`: {items, output: projected | cls | hidden, normalize, truncate, dimensions}.

    The result's items are {values, shape, input_tokens, is_truncated}, `values` flat, row after row.
    """
    gathered = Gathered(runtime)
    planned = plan_each(inputs, lambda one: plan_items(gathered, one))
    images, texts = gathered.image_states(turn), gathered.text_states(turn)
    results: list[JobResult | JobError] = []
    for one, job in zip(inputs, planned, strict=True):
        if job.plan is None:
            assert job.error is not None
            results.append(job.error)
            continue
        plan = job.plan

        def finish(start: int, stop: int, plan: list[Item] = plan, one: dict[str, Any] = one) -> list[Tensor]:
            return [
                vectors(runtime, images[item.place] if item.is_image else texts[item.place], item.is_image, one)
                for item in plan[start:stop]
            ]

        results.append(result_of(gathered, plan, runtime.chunked(len(plan), finish, turn)))
    return results


def plan_items(gathered: Gathered, one: dict[str, Any]) -> list[Item]:
    config = gathered.runtime.model.config
    if one["output"] == "projected":
        gathered.runtime.require("contrastive")
    own = config.projection_dim if one["output"] == "projected" else config.hidden_size
    if one["dimensions"] not in (None, own):
        message = f"dimensions: expected {own}, got {one['dimensions']}"
        raise JobError("unsupported_dimensions", message, param="dimensions")
    return [plan_item(gathered, item, one["truncate"]) for item in one["items"]]


def plan_item(gathered: Gathered, item: dict[str, Any], may_truncate: bool) -> Item:
    param: str = item["param"]
    if "image" in item:
        return Item(True, gathered.image(item["image"], f"{param}.image"))
    texts = gathered.runtime.texts
    tokens: Tokens = (
        texts.frame(item["tokens"], param) if "tokens" in item else texts.read(item["text"], item.get("pair"))
    )
    if tokens.is_truncated and not may_truncate:
        message = f"{param}: expected at most {texts.max_length} tokens, got {tokens.count} (truncate is false)"
        raise JobError("input_too_long", message, param=param)
    return Item(False, gathered.text(tokens))


def vectors(runtime: FlavaRuntime, states: Tensor, is_image: bool, one: dict[str, Any]) -> Tensor:
    """f32 [length] or, of all tokens, [tokens, length], on the CPU."""
    flava = runtime.model.flava
    encoder, projection = (
        (flava.image_model, flava.image_projection) if is_image else (flava.text_model, flava.text_projection)
    )
    found = encoder.layernorm(states if one["output"] == "hidden" else states[0])
    if one["output"] == "projected":
        found = projection(found)
    return (F.normalize(found, dim=-1) if one["normalize"] else found).cpu()


def result_of(gathered: Gathered, plan: list[Item], found: list[Tensor]) -> JobResult:
    items: list[dict[str, Any]] = []
    tokens = 0
    for item, values in zip(plan, found, strict=True):
        text = None if item.is_image else gathered.tokens[item.place]
        tokens += gathered.image_tokens if text is None else len(text.input_ids)
        items.append(
            {
                "values": torch.flatten(values).tolist(),
                "shape": list(values.shape),
                "input_tokens": gathered.image_tokens if text is None else text.count,
                "is_truncated": text is not None and text.is_truncated,
            }
        )
    return JobResult({"items": items}, Usage(tokens, sum(item.is_image for item in plan)))
