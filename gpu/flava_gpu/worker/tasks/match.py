"""Image-text matching: the probability that a picture and a text belong together, from the ITM head on fused states."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from flava_gpu.worker.job import JobError, JobResult, Usage
from flava_gpu.worker.tasks.gathered import Gathered, plan_each
from flava_gpu.worker.tasks.runtime import FlavaRuntime, Turn

MATCH_CLASS = 1  # 0 is a mismatch


def run_match(
    runtime: FlavaRuntime, inputs: Sequence[dict[str, Any]], turn: Turn = nullcontext
) -> list[JobResult | JobError]:
    """One answer for each `multimodal.match.input`; all their pictures, texts and pairs share the passes."""
    try:
        runtime.require("itm")
    except JobError as error:
        return [error] * len(inputs)
    gathered = Gathered(runtime)
    planned = plan_each(inputs, lambda one: plan_pairs(gathered, one))
    wanted = list(dict.fromkeys(pair for job in planned if job.plan is not None for pair in job.plan))
    scores = dict(zip(wanted, match_scores(runtime, gathered, wanted, turn), strict=True))
    return [
        error_or_result(runtime, one, job.plan, job.error, scores) for one, job in zip(inputs, planned, strict=True)
    ]


def plan_pairs(gathered: Gathered, one: dict[str, Any]) -> list[tuple[int, int]]:
    images = [gathered.image(image, f"images[{index}]") for index, image in enumerate(one["images"])]
    texts = [gathered.text(gathered.runtime.texts.read(text)) for text in one["texts"]]
    for index, (image, text) in enumerate(one["pairs"]):
        if image >= len(images) or text >= len(texts):
            param = f"pairs[{index}]"
            raise JobError("invalid_input", f"{param}: expected positions in images and texts", param=param)
    return [(images[image], texts[text]) for image, text in one["pairs"]]


def match_scores(runtime: FlavaRuntime, gathered: Gathered, pairs: list[tuple[int, int]], turn: Turn) -> list[float]:
    if not pairs:
        return []
    images, texts = gathered.image_states(turn), gathered.text_states(turn)

    def score(states: Tensor, _: range) -> list[float]:
        logits = runtime.model.itm_head(states)  # [chunk, 2]
        return torch.softmax(logits.double(), dim=1)[:, MATCH_CLASS].tolist()

    return runtime.fuse([(images[image], texts[text]) for image, text in pairs], score, turn)


def error_or_result(
    runtime: FlavaRuntime,
    one: dict[str, Any],
    plan: list[tuple[int, int]] | None,
    error: JobError | None,
    scores: dict[tuple[int, int], float],
) -> JobResult | JobError:
    if plan is None:
        assert error is not None
        return error
    words = sum(len(runtime.texts.read(text).input_ids) for text in one["texts"])
    tokens = words + len(one["images"]) * (1 + runtime.grid**2)
    return JobResult({"scores": [scores[pair] for pair in plan]}, Usage(tokens, len(one["images"])))
