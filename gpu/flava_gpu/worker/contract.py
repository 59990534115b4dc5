"""The wire contract as contract/worker-protocol.schema.json states it: which version, and whether a message keeps to it.

Knows no message by itself; messages.py gives them Python's types. Never imports torch.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

CONTRACT_HEADER = "x-flava-contract"
SCHEMA_FILE = "worker-protocol.schema.json"
REPOSITORY = Path(__file__).parents[3]
MAX_INLINE_BYTES = 256 * 1024
"""A result that is longer travels as the output object RESULT_OBJECT."""
RESULT_OBJECT = "result.json"
INPUT_OBJECT = "input.json"
MAX_LEASED_JOBS = 32
MAX_WAIT_MS = 25_000
MAX_EVENTS = 256
"""Events in one heartbeat of a job."""
MAX_MESSAGE_CHARACTERS = 4096
MAX_URLS = 256
"""Names of one kind in one request for URLs."""


class ContractError(ValueError):
    """A message that does not keep to the contract; says where."""


class Contract:
    """The schema document, with one validator for each of its definitions, made when it is first asked for."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.version: int = document["version"]
        self._definitions: dict[str, Any] = document["$defs"]
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def names(self) -> list[str]:
        return list(self._definitions)

    def check(self, name: str, message: object) -> None:
        """Raises ContractError unless `message` is a valid `name`, as `LeaseResponse` or `multimodal.match.input`."""
        validator = self._validators.get(name)
        if validator is None:
            # Masked: a message holds what users wrote, and errors are logged.
            validator = jsonschema_rs.Draft202012Validator(self._definitions[name], mask="a value")
            self._validators[name] = validator
        try:
            validator.validate(message)
        except jsonschema_rs.ValidationError as error:
            where = "/".join(str(part) for part in error.instance_path)
            raise ContractError(f"{name}: {where or 'message'}: {shorten(error.message, 300)}") from error


@cache
def load_contract() -> Contract:
    """The repository's contract; FLAVA_CONTRACT names another folder, for an installation without the repository."""
    folder = Path(os.environ.get("FLAVA_CONTRACT") or REPOSITORY / "contract")
    return Contract(json.loads((folder / SCHEMA_FILE).read_text(encoding="utf-8")))


def shorten(text: str, characters: int = MAX_MESSAGE_CHARACTERS) -> str:
    """Counts as the gateway does, in UTF-16: a character beyond the first 65536 counts twice."""
    encoded = text.encode("utf-16-le", "surrogatepass")
    if len(encoded) <= 2 * characters:
        return text
    kept = encoded[: 2 * (characters - 1)]
    if 0xD8 <= kept[-1] <= 0xDB:  # the first half of a pair, cut from its second
        kept = kept[:-2]
    return kept.decode("utf-16-le", "surrogatepass") + "…"
