"""Results of the tasks as response bodies, in the shapes that the gateway's routes answer with. Imports no torch."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Sequence

from flava_gpu.worker.batch.orders import About, Json, Order
from flava_gpu.worker.job import JobResult

Vector = Sequence[float]


def response_of(endpoint: str, order: Order, result: JobResult, about: About, gpu_seconds: float) -> Json:
    """The body of a 200."""
    body = common(result, about, gpu_seconds)
    data, more = RESPONSES[endpoint](order, result.result, about)
    return {**body, "data": data, "x_flava": {**body["x_flava"], **more}}


def common(result: JobResult, about: About, gpu_seconds: float) -> Json:
    tokens, images = result.usage.tokens, result.usage.images
    return {
        "object": "list",
        "data": [],
        "model": about.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "images": images},
        "x_flava": {"job": about.job, "engine": "gpu", "gpu_seconds": round(gpu_seconds, 6)},
    }


def embeddings(order: Order, result: Json, about: About) -> tuple[list[Json], Json]:
    data: list[Json] = []
    items: list[Json] = []
    for index, item in enumerate(result["items"]):
        data.append({"object": "embedding", "index": index, "embedding": encode(item["values"], order.keep)})
        told: Json = {"index": index, "truncated": item["is_truncated"], "input_tokens": item["input_tokens"]}
        if order.keep["output"] == "hidden":
            told["shape"] = item["shape"]
        items.append(told)
    placement = {"route": "gpu", "reason": "batch"}
    return data, {"space": about.space, "weights": about.weights, "placement": placement, "items": items}


def encode(values: Vector, keep: Json) -> list[float] | list[int] | str:
    """Values of one item in the type and encoding that were asked for, as the edge makes them."""
    dtype, as_base64 = keep["dtype"], keep["format"] == "base64"
    if dtype == "float":
        return floats_to_base64(values) if as_base64 else list(values)
    if dtype == "int8":
        whole = [max(-127, min(127, math.floor(value * 127 + 0.5))) for value in values]
        packed = struct.pack(f"{len(whole)}b", *whole)
    else:
        bits = [sum((values[start + bit] > 0) << (7 - bit) for bit in range(8)) for start in range(0, len(values), 8)]
        whole, packed = bits, bytes(bits)
    return base64.b64encode(packed).decode() if as_base64 else whole


def floats_to_base64(values: Vector) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def multimodal_embeddings(order: Order, result: Json, about: About) -> tuple[list[Json], Json]:
    data: list[Json] = []
    items: list[Json] = []
    for index, item in enumerate(result["items"]):
        embedding = item["embedding"]
        is_matrix = isinstance(embedding[0], list)
        flat = [value for row in embedding for value in row] if is_matrix else embedding
        told = floats_to_base64(flat) if order.keep["format"] == "base64" else embedding
        data.append({"object": "embedding", "index": index, "embedding": told})
        items.append(
            {
                "index": index,
                "truncated": item["is_truncated"],
                "text_tokens": item["text_tokens"],
                "image_tokens": item["image_tokens"],
                "shape": [len(embedding), len(embedding[0])] if is_matrix else [len(embedding)],
            }
        )
    return data, {"space": about.space, "items": items}


def match(order: Order, result: Json, _: About) -> tuple[list[Json], Json]:
    scores: list[float] = result["scores"]
    if order.keep["form"] == "pairs":
        return [{"object": "match", "index": index, "score": score} for index, score in enumerate(scores)], {}
    if order.keep["form"] == "matrix":
        columns: int = order.keep["columns"]
        starts = range(0, len(scores), columns)
        rows = [scores[start : start + columns] for start in starts]
        return [{"object": "match.row", "index": index, "scores": row} for index, row in enumerate(rows)], {}
    best = sorted(range(len(scores)), key=lambda index: -scores[index])
    ranks = {candidate: rank for rank, candidate in enumerate(best, start=1)}
    return [
        {"object": "match", "index": index, "score": score, "rank": ranks[index]} for index, score in enumerate(scores)
    ], {}


def fill_mask(order: Order, result: Json, _: About) -> tuple[list[Json], Json]:
    side: int = order.keep["side"]
    return [
        {
            "object": "fill_mask",
            "index": index,
            "words": item["words"],
            "patches": [
                {"row": found["patch"] // side, "column": found["patch"] % side, "candidates": found["candidates"]}
                for found in item["patches"]
            ],
        }
        for index, item in enumerate(result["items"])
    ], {}


def classify(_: Order, result: Json, __: About) -> tuple[list[Json], Json]:
    return [
        {"object": "classification" if "labels" in item else "regression", "index": index, **item}
        for index, item in enumerate(result["items"])
    ], {}


RESPONSES: dict[str, Callable[[Order, Json, About], tuple[list[Json], Json]]] = {
    "/v1/embeddings": embeddings,
    "/v1/multimodal/embeddings": multimodal_embeddings,
    "/v1/multimodal/match": match,
    "/v1/multimodal/fill-mask": fill_mask,
    "/v1/multimodal/classify": classify,
}
