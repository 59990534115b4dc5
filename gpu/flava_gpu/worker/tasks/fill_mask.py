"""Masked words and masked patches, with the other modality or alone: which head answers follows from what is there.

Words beside a picture come from mmm_text, words alone from mlm; patches beside a text from mmm_image, patches alone from mim.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flava_gpu.worker.job import JobError, JobResult, Usage
from flava_gpu.worker.tasks.gathered import Gathered, plan_each
from flava_gpu.worker.tasks.runtime import FlavaRuntime, Turn


@dataclass(frozen=True)
class Item:
    """Places of the picture and the text among the gathered ones, and what is masked in them."""

    image: int | None
    text: int | None
    words: tuple[int, ...]  # positions among the text's tokens, [CLS] being 0
    patches: tuple[int, ...]  # row-major


Filled = tuple[list[Any], list[Any]]
"""Candidates of the words and of the patches, in the order of the item's positions."""


def run_fill_mask(
    runtime: FlavaRuntime, inputs: Sequence[dict[str, Any]], turn: Turn = nullcontext
) -> list[JobResult | JobError]:
    """One answer for each `multimodal.fill_mask.input`; all their items share the passes."""
    gathered = Gathered(runtime)
    planned = plan_each(inputs, lambda one: plan_items(gathered, one))
    wanted: dict[Item, int] = {}  # the largest top_k that somebody asks for
    for one, job in zip(inputs, planned, strict=True):
        for item in job.plan or []:
            wanted[item] = max(wanted.get(item, 0), one["top_k"])
    filled = fill(runtime, gathered, wanted, turn)
    results: list[JobResult | JobError] = []
    for one, job in zip(inputs, planned, strict=True):
        if job.plan is None:
            assert job.error is not None
            results.append(job.error)
        else:
            results.append(result_of(gathered, job.plan, filled, one["top_k"]))
    return results


def plan_items(gathered: Gathered, one: dict[str, Any]) -> list[Item]:
    return [plan_item(gathered, item, f"items[{index}]") for index, item in enumerate(one["items"])]


def plan_item(gathered: Gathered, item: dict[str, Any], param: str) -> Item:
    runtime = gathered.runtime
    tokens = None if item["text"] is None else runtime.texts.read(item["text"])
    patches = tuple(dict.fromkeys(item["masked_patches"]))
    if any(patch >= runtime.grid**2 for patch in patches):
        where = f"{param}.masked_patches"
        raise JobError("invalid_input", f"{where}: expected positions below {runtime.grid**2}", param=where)
    if patches and item["image"] is None:
        raise JobError("invalid_input", f"{param}.masked_patches: expected an image beside them", param=param)
    words: tuple[int, ...] = ()
    if tokens is not None:
        words = tuple(place for place, token in enumerate(tokens.input_ids) if token == runtime.texts.mask_id)
        if tokens.is_truncated:
            limit = runtime.texts.max_length
            message = f"{param}.text: expected at most {limit} tokens, got {tokens.count}: a mask might be cut off"
            raise JobError("input_too_long", message, param=f"{param}.text")
    if not words and not patches:
        raise JobError("invalid_input", f"{param}: expected a [MASK] in text, or masked patches", param=param)
    if words:
        runtime.require("mlm" if item["image"] is None else "mmm_text")
    if patches:
        runtime.require("mim" if tokens is None else "mmm_image")
    image = None if item["image"] is None else gathered.image(item["image"], f"{param}.image", patches)
    return Item(image, None if tokens is None else gathered.text(tokens), words, patches)


def fill(runtime: FlavaRuntime, gathered: Gathered, wanted: dict[Item, int], turn: Turn) -> dict[Item, Filled]:
    images, texts = gathered.image_states(turn), gathered.text_states(turn)
    filled: dict[Item, Filled] = {}
    model = runtime.model
    both = [item for item in wanted if item.image is not None and item.text is not None]

    def fill_both(states: Tensor, positions: range) -> list[Filled]:
        first_word = 1 + gathered.image_tokens
        return [
            (
                candidates(
                    model.mmm_text_head, states[row], [first_word + place for place in item.words], wanted[item]
                ),
                candidates(model.mmm_image_head, states[row], [2 + place for place in item.patches], wanted[item]),
            )
            for row, item in enumerate(both[position] for position in positions)
        ]

    pairs = [
        (images[item.image], texts[item.text]) for item in both if item.image is not None and item.text is not None
    ]
    filled.update(zip(both, runtime.fuse(pairs, fill_both, turn), strict=True))

    alone = [item for item in wanted if item not in filled]

    def fill_alone(start: int, stop: int) -> list[Filled]:
        found: list[Filled] = []
        for item in alone[start:stop]:
            if item.text is not None:
                states = model.flava.text_model.layernorm(texts[item.text])
                found.append((candidates(model.mlm_head, states, list(item.words), wanted[item]), []))
            else:
                assert item.image is not None
                states = model.flava.image_model.layernorm(images[item.image])
                found.append(([], candidates(model.mim_head, states, [1 + p for p in item.patches], wanted[item])))
        return found

    filled.update(zip(alone, runtime.chunked(len(alone), fill_alone, turn), strict=True))
    return filled


def candidates(head: nn.Module, states: Tensor, positions: list[int], top_k: int) -> list[list[tuple[int, float]]]:
    """For each of `positions` in `states` [seq_len, hidden_size]: ids with their probabilities over the whole vocabulary."""
    if not positions:
        return []
    logits = head(states[positions])  # [positions, vocab_size]
    best = torch.softmax(logits.double(), dim=-1).topk(min(top_k, logits.shape[-1]), dim=-1)
    return [
        list(zip(ids, scores, strict=True))
        for ids, scores in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def result_of(gathered: Gathered, plan: list[Item], filled: dict[Item, Filled], top_k: int) -> JobResult:
    texts = gathered.runtime.texts
    items: list[dict[str, Any]] = []
    tokens, images = 0, 0
    for item in plan:
        words, patches = filled[item]
        items.append(
            {
                "words": [
                    {
                        "position": position,
                        "candidates": [
                            {"token": texts.token(token), "token_id": token, "score": score}
                            for token, score in found[:top_k]
                        ],
                    }
                    for position, found in zip(item.words, words, strict=True)
                ],
                "patches": [
                    {
                        "patch": patch,
                        "candidates": [{"codebook_id": code, "score": score} for code, score in found[:top_k]],
                    }
                    for patch, found in zip(item.patches, patches, strict=True)
                ],
            }
        )
        tokens += 0 if item.text is None else len(gathered.tokens[item.text].input_ids)
        tokens += 0 if item.image is None else gathered.image_tokens
        images += item.image is not None
    return JobResult({"items": items}, Usage(tokens, images))
