"""Request bodies of the HTTP API as work for the tasks: what the gateway does with one request, for a line of a batch.

Bodies are checked against contract/openapi.json, which is made of the schemas that the gateway parses with; what those
cannot say (one of three forms, pictures for a text) is checked here. Imports no torch.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from flava_gpu.worker.contract import REPOSITORY, shorten
from flava_gpu.worker.job import JobError

MAX_PAIRS = 256
DEFAULT_TOP_K = 5
Json = dict[str, Any]

REQUEST_SCHEMAS = {
    "/v1/embeddings": "EmbeddingsRequest",
    "/v1/multimodal/embeddings": "MultimodalEmbeddingsRequest",
    "/v1/multimodal/match": "MatchRequest",
    "/v1/multimodal/fill-mask": "FillMaskRequest",
    "/v1/multimodal/classify": "ClassifyRequest",
}


@dataclass(frozen=True)
class About:
    """What every response says of where it comes from."""

    job: str
    model: str
    space: str | None
    weights: str
    grid: int


@dataclass(frozen=True)
class Order:
    """One line's work: the input of a task, and what its response needs of the request."""

    given: Json
    keep: Json = field(default_factory=dict)


@cache
def request_schemas() -> Json:
    folder = Path(os.environ.get("FLAVA_CONTRACT") or REPOSITORY / "contract")
    return json.loads((folder / "openapi.json").read_text(encoding="utf-8"))["components"]["schemas"]


@cache
def request_validator(name: str) -> jsonschema_rs.Validator:
    schemas = request_schemas()
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    )


def check_body(endpoint: str, body: object) -> Json:
    """Raises JobError invalid_input naming the place in the body."""
    try:
        request_validator(REQUEST_SCHEMAS[endpoint]).validate(body)
    except jsonschema_rs.ValidationError as error:
        param = place(error.instance_path)
        message = f"{param or 'body'}: {shorten(error.message, 200)}"
        raise JobError("invalid_input", message, param=param or None) from error
    assert isinstance(body, dict)
    return body


def place(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def items_of(body: Json) -> list[Any]:
    given = body["input"]
    return given if isinstance(given, list) else [given]


def picture(image: str, param: str) -> str:
    """Base64 as it is, or out of a data URI. A batch fetches nothing."""
    if image[:8].lower().startswith(("http://", "https://")):
        raise JobError("image_url_refused", f"{param}: a batch takes pictures as base64 or data URIs", param=param)
    if image.startswith("data:"):
        head, comma, image = image.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise JobError("invalid_base64", f"{param}: expected a data URI in base64", param=param)
    compact = "".join(image.split())
    return compact + "=" * (-len(compact) % 4)  # padding may be left out, as at the edge


def order_multimodal_embeddings(body: Json, about: About) -> Order:
    items = [
        {"text": item["text"], "image": picture(item["image"], f"input[{index}].image")}
        for index, item in enumerate(items_of(body))
    ]
    normalize = body.get("normalize")
    given = {
        "items": items,
        "output": body.get("output") or "cls",
        "normalize": True if normalize is None else normalize,
    }
    return Order(given, {"format": body.get("encoding_format") or "float"})


def order_match(body: Json, about: About) -> Order:
    forms = [name for name in ("pairs", "query", "images") if body.get(name) is not None]
    if len(forms) != 1:
        raise JobError("invalid_input", "expected one of {pairs}, {query, candidates} and {images, texts}")
    if forms[0] == "pairs":
        images = list(dict.fromkeys(pair["image"] for pair in body["pairs"]))
        texts = list(dict.fromkeys(pair["text"] for pair in body["pairs"]))
        pairs = [[images.index(pair["image"]), texts.index(pair["text"])] for pair in body["pairs"]]
        form = {"form": "pairs"}
    elif forms[0] == "query":
        images, texts, pairs = ranking(body)
        form = {"form": "ranking"}
    else:
        images, texts = body["images"], body["texts"]
        if len(images) * len(texts) > MAX_PAIRS:
            message = f"expected at most {MAX_PAIRS} pairs, got {len(images)} x {len(texts)}"
            raise JobError("too_many_items", message, param="texts")
        pairs = [[image, text] for image in range(len(images)) for text in range(len(texts))]
        form = {"form": "matrix", "columns": len(texts)}
    decoded = [picture(image, f"{forms[0]}[{index}]") for index, image in enumerate(images)]
    return Order({"images": decoded, "texts": texts, "pairs": pairs}, form)


def ranking(body: Json) -> tuple[list[str], list[str], list[list[int]]]:
    query, candidates = side(body["query"]), [side(one) for one in body["candidates"]]
    for index, (kind, _) in enumerate(candidates):
        if kind == query[0]:
            param = f"candidates[{index}]"
            raise JobError("invalid_input", f"{param}: expected the other kind than the query's", param=param)
    values = [value for _, value in candidates]
    if query[0] == "text":
        return values, [query[1]], [[index, 0] for index in range(len(values))]
    return [query[1]], values, [[0, index] for index in range(len(values))]


def side(value: str | Json) -> tuple[str, str]:
    if isinstance(value, str):
        return "text", value
    return ("text", value["text"]) if "text" in value else ("image", value["image"])


def order_fill_mask(body: Json, about: About) -> Order:
    items = [
        {
            **text_and_image(item, f"input[{index}]"),
            "masked_patches": patches(item, about.grid, f"input[{index}]"),
        }
        for index, item in enumerate(items_of(body))
    ]
    return Order({"items": items, "top_k": int(body.get("top_k") or DEFAULT_TOP_K)}, {"side": about.grid})


def order_classify(body: Json, about: About) -> Order:
    items = [text_and_image(item, f"input[{index}]") for index, item in enumerate(items_of(body))]
    return Order({"items": items, "top_k": int(body.get("top_k") or DEFAULT_TOP_K)})


def text_and_image(item: Json, param: str) -> Json:
    text, image = item.get("text"), item.get("image")
    if text is None and image is None:
        raise JobError("invalid_input", f"{param}: expected text, image or both", param=param)
    return {"text": text, "image": None if image is None else picture(image, f"{param}.image")}


def patches(item: Json, side: int, param: str) -> list[int]:
    """Named patches, and those that a box touches, row by row from the top left."""
    found: set[int] = set()
    for index, (row, column) in enumerate(item.get("masked_patches") or []):
        if row >= side or column >= side:
            where = f"{param}.masked_patches[{index}]"
            raise JobError("invalid_input", f"{where}: expected a row and a column below {side}", param=where)
        found.add(int(row) * side + int(column))
    for index, (x0, y0, x1, y1) in enumerate(item.get("masked_boxes") or []):
        if x0 >= x1 or y0 >= y1:
            where = f"{param}.masked_boxes[{index}]"
            raise JobError(
                "invalid_input", f"{where}: expected [x0, y0, x1, y1] with x0 below x1, y0 below y1", param=where
            )
        for row in range(math.floor(y0 * side), math.ceil(y1 * side)):
            found.update(row * side + column for column in range(math.floor(x0 * side), math.ceil(x1 * side)))
    return sorted(found)


def order_embeddings(body: Json, about: About) -> Order:
    given = {
        "items": [embedding_item(item, param) for item, param in embedding_items(body["input"])],
        "output": body.get("output") or "projected",
        "normalize": body.get("normalize") is not False,
        "truncate": body.get("truncate") is not False,
        "dimensions": None if body.get("dimensions") is None else int(body["dimensions"]),
    }
    dtype = body.get("output_dtype") or "float"
    if dtype != "float" and not given["normalize"]:
        message = f"output_dtype: {dtype} is defined on vectors of unit length; leave normalize true, or ask for float"
        raise JobError("invalid_input", message, param="output_dtype")
    return Order(given, {"format": body.get("encoding_format") or "float", "dtype": dtype, "output": given["output"]})


def embedding_items(given: Any) -> list[tuple[Any, str]]:
    """A flat list of numbers is one text's token ids, as in OpenAI's API."""
    if not isinstance(given, list) or isinstance(given[0], int | float):
        return [(given, "input")]
    return [(item, f"input[{index}]") for index, item in enumerate(given)]


def embedding_item(item: Any, param: str) -> Json:
    if isinstance(item, str):
        return {"text": item, "param": param}
    if isinstance(item, list):
        return {"tokens": [int(token) for token in item], "param": param}  # JSON's 1.0 is an integer as well
    if "image" in item:
        return {"image": picture(item["image"], f"{param}.image"), "param": param}
    return {"text": item["text"], "pair": item.get("text_pair"), "param": param}


ORDERS: dict[str, Callable[[Json, About], Order]] = {
    "/v1/embeddings": order_embeddings,
    "/v1/multimodal/embeddings": order_multimodal_embeddings,
    "/v1/multimodal/match": order_match,
    "/v1/multimodal/fill-mask": order_fill_mask,
    "/v1/multimodal/classify": order_classify,
}


def order_of(endpoint: str, body: object, about: About) -> Order:
    """Raises JobError for a body that the route would answer with 400."""
    return ORDERS[endpoint](check_body(endpoint, body), about)
