"""The JSON Schema takes and refuses the same examples as zod does on the other side (test/jobs/contract-examples.test.ts)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flava_gpu.worker.contract import REPOSITORY, ContractError, load_contract
from flava_gpu.worker.messages import Lease

EXAMPLES = REPOSITORY / "contract" / "examples"


def definition(path: Path) -> str:
    return path.stem.partition("--")[0]


@pytest.mark.parametrize("path", sorted((EXAMPLES / "valid").glob("*.json")), ids=lambda path: path.stem)
def test_a_valid_example_is_taken(path: Path) -> None:
    load_contract().check(definition(path), json.loads(path.read_text()))


@pytest.mark.parametrize("path", sorted((EXAMPLES / "invalid").glob("*.json")), ids=lambda path: path.stem)
def test_an_invalid_example_is_refused(path: Path) -> None:
    with pytest.raises(ContractError, match=definition(path)):
        load_contract().check(definition(path), json.loads(path.read_text()))


def test_every_definition_has_an_example_of_either_sort() -> None:
    for folder in ("valid", "invalid"):
        assert {definition(path) for path in (EXAMPLES / folder).glob("*.json")} == set(load_contract().names())


def test_a_lease_in_pythons_types_holds_what_the_example_says() -> None:
    message = json.loads((EXAMPLES / "valid" / "LeaseResponse--training-resumed.json").read_text())
    lease = Lease.of(message["leases"][0])
    assert (lease.kind, lease.fence, lease.attempt) == ("fine_tuning", 3, 2)
    assert [item.name for item in lease.model.objects] == ["model/config.json", "model/model.safetensors"]
    assert lease.resume is not None
    assert lease.resume.to_json() == message["leases"][0]["resume"]
