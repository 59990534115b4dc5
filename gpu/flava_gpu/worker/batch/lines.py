"""A batch's input file line by line: {custom_id, method, url, body}, each with its line number. Imports no torch.

A line that cannot be taken is told as that line's error; the others are done all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flava_gpu.worker.job import JobError

MAX_REQUESTS = 50_000  # OpenAI's limit
MAX_LINE_BYTES = 20 * 1024 * 1024  # what a request's body may have at the gateway
MAX_CUSTOM_ID = 512


@dataclass(frozen=True)
class Line:
    number: int  # in the file, from 1
    custom_id: str | None
    body: Any
    error: JobError | None


def count_requests(path: Path) -> int:
    """Lines that are not blank. Raises JobError when there are none, or too many."""
    with path.open("rb") as file:
        count = sum(1 for _, text in numbered(file) if text is None or text.strip())
    if count == 0:
        raise JobError("empty_file", "the batch's file holds no request", param="input_file_id")
    if count > MAX_REQUESTS:
        message = f"expected at most {MAX_REQUESTS} requests in a batch, got {count}"
        raise JobError("too_many_requests_in_batch", message, param="input_file_id")
    return count


def read_lines(path: Path, endpoint: str, model: str) -> Iterator[Line]:
    """Every request of the file in order."""
    seen: set[str] = set()
    with path.open("rb") as file:
        for number, text in numbered(file):
            if text is not None and not text.strip():
                continue
            yield read_line(number, text, endpoint, model, seen)


def numbered(file: Any) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers; None for one that is too long, whose rest is skipped."""
    number = 0
    while text := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(text) <= MAX_LINE_BYTES:
            yield number, text
            continue
        while text and not text.endswith(b"\n"):
            text = file.readline(MAX_LINE_BYTES)
        yield number, None


def read_line(number: int, text: bytes | None, endpoint: str, model: str, seen: set[str]) -> Line:
    custom_id: str | None = None

    def wrong(code: str, message: str, param: str | None = None) -> Line:
        error = JobError(code, f"line {number}: {message}", param=param, line=number)
        return Line(number, custom_id, None, error)

    if text is None:
        return wrong("line_too_long", f"expected at most {MAX_LINE_BYTES} bytes")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return wrong("invalid_json", "expected a JSON object")
    if not isinstance(raw, dict):
        return wrong("invalid_json", "expected a JSON object")
    given = raw.get("custom_id")
    if not isinstance(given, str) or not 1 <= len(given) <= MAX_CUSTOM_ID:
        return wrong("missing_custom_id", f"expected a custom_id of 1 to {MAX_CUSTOM_ID} characters", "custom_id")
    custom_id = given
    if given in seen:
        return wrong("duplicate_custom_id", "its custom_id stands in an earlier line too", "custom_id")
    seen.add(given)
    if raw.get("method") != "POST":
        return wrong("invalid_method", "expected method POST", "method")
    if raw.get("url") != endpoint:
        return wrong("invalid_url", f"expected url {endpoint}, the batch's endpoint", "url")
    body = raw.get("body")
    if not isinstance(body, dict):
        return wrong("missing_body", "expected a body", "body")
    if body.get("model") != model:
        return wrong("mismatched_model", f"expected model {model}, as in the first line", "body.model")
    return Line(number, custom_id, body, None)
