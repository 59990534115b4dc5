"""A fine-tuned head's labels or value for texts, pictures or pairs; the head itself is finetune/head.py's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flava_gpu.finetune.head import Head, HeadSpec, load_head, predict
from flava_gpu.worker.job import JobError, JobResult, Usage
from flava_gpu.worker.tasks.gathered import Gathered, plan_each
from flava_gpu.worker.tasks.runtime import FlavaRuntime, Turn
from flava_gpu.worker.tasks.texts import TextReader

HEAD_KEY = "classifier"


@dataclass(frozen=True)
class Classifier:
    spec: HeadSpec
    head: Head
    texts: TextReader
    """Cuts as in training."""


@dataclass(frozen=True)
class Item:
    """Places among the gathered pictures and texts."""

    image: int | None
    text: int | None


def run_classify(
    runtime: FlavaRuntime, inputs: Sequence[dict[str, Any]], turn: Turn = nullcontext
) -> list[JobResult | JobError]:
    """One answer for each `multimodal.classify.input`; all their items share the passes."""
    try:
        runtime.require("classification", "regression")
        classifier = classifier_of(runtime)
    except JobError as error:
        return [error] * len(inputs)
    gathered = Gathered(runtime)
    planned = plan_each(inputs, lambda one: plan_items(classifier, gathered, one))
    wanted = list(dict.fromkeys(item for job in planned for item in job.plan or []))
    outputs = dict(zip(wanted, classify(classifier, gathered, wanted, turn), strict=True))
    results: list[JobResult | JobError] = []
    for one, job in zip(inputs, planned, strict=True):
        if job.plan is None:
            assert job.error is not None
            results.append(job.error)
        else:
            results.append(result_of(classifier.spec, gathered, job.plan, outputs, one["top_k"]))
    return results


def classifier_of(runtime: FlavaRuntime) -> Classifier:
    """Loaded when it is first asked for, and kept with the model."""
    if HEAD_KEY not in runtime.extras:
        try:
            spec, head = load_head(runtime.folder)
        except (OSError, ValueError) as error:
            raise JobError("checkpoint_config", "the model's classification head cannot be read") from error
        head = head.requires_grad_(False).to(runtime.device)
        runtime.extras[HEAD_KEY] = Classifier(spec, head, runtime.texts.of_length(spec.max_text_length))
    return runtime.extras[HEAD_KEY]


def plan_items(classifier: Classifier, gathered: Gathered, one: dict[str, Any]) -> list[Item]:
    wants = {"text": ("text",), "image": ("image",), "pair": ("text", "image")}[classifier.spec.inputs]
    items: list[Item] = []
    for index, item in enumerate(one["items"]):
        for name in ("text", "image"):
            param = f"items[{index}].{name}"
            if (item[name] is not None) != (name in wants):
                expected = (
                    f"expected {'it' if name in wants else 'none'}: the model was trained on {' and '.join(wants)}"
                )
                raise JobError("invalid_input", f"{param}: {expected}", param=param)
        items.append(
            Item(
                None if item["image"] is None else gathered.image(item["image"], f"items[{index}].image"),
                None if item["text"] is None else gathered.text(classifier.texts.read(item["text"])),
            )
        )
    return items


def classify(classifier: Classifier, gathered: Gathered, wanted: list[Item], turn: Turn) -> list[list[float]]:
    """Probabilities in the order of the head's labels, or a regression's one value."""
    runtime = gathered.runtime
    flava = runtime.model.flava
    images, texts = gathered.image_states(turn), gathered.text_states(turn)

    def outputs(states: Tensor) -> list[list[float]]:
        found = predict(classifier.spec, classifier.head, states)
        return found.double().reshape(len(states), -1).tolist()

    if classifier.spec.inputs == "pair":
        pairs = [
            (images[item.image], texts[item.text])
            for item in wanted
            if item.image is not None and item.text is not None
        ]
        return runtime.fuse(pairs, lambda states, _: outputs(states[:, 0]), turn)

    def alone(start: int, stop: int) -> list[list[float]]:
        if classifier.spec.inputs == "image":
            tokens = torch.stack([images[item.image or 0, 0] for item in wanted[start:stop]])
            return outputs(flava.image_model.layernorm(tokens))
        tokens = torch.stack([texts[item.text or 0][0] for item in wanted[start:stop]])
        return outputs(flava.text_model.layernorm(tokens))

    return runtime.chunked(len(wanted), alone, turn)


def result_of(
    spec: HeadSpec, gathered: Gathered, plan: list[Item], outputs: dict[Item, list[float]], top_k: int
) -> JobResult:
    items: list[dict[str, Any]] = []
    for item in plan:
        if spec.labels is None:
            items.append({"value": outputs[item][0]})
            continue
        scored = sorted(zip(outputs[item], spec.labels, strict=True), key=lambda pair: -pair[0])
        items.append({"labels": [{"label": label, "score": min(1.0, score)} for score, label in scored[:top_k]]})
    tokens = sum(len(gathered.tokens[item.text].input_ids) for item in plan if item.text is not None)
    images = sum(item.image is not None for item in plan)
    return JobResult({"items": items}, Usage(tokens + images * gathered.image_tokens, images))
