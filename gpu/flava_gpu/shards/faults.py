"""What can be wrong with a shard or with one sample of it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flava_gpu.training.errors import TrainingError

OnBad = Literal["error", "skip"]
"""What a bad sample does: end the run, or be left out, counted and told."""

FaultCode = Literal[
    "unreadable_shard",  # not a tar file at all
    "truncated_shard",  # ends before its end-of-archive block
    "changed_shard",  # not the file that was indexed
    "missing_picture",
    "missing_caption",
    "duplicate_key",
    "empty_caption",
    "unreadable_caption",
    "unreadable_picture",
    "too_many_bad",
]


@dataclass(frozen=True)
class Fault:
    code: FaultCode
    shard: str
    key: str
    """Of the sample; empty where the shard as a whole is at fault."""
    reason: str

    def __str__(self) -> str:
        return f"{self.shard}{f', sample {self.key!r}' if self.key else ''}: {self.reason}"


class ShardError(TrainingError):
    """Names the shard and the key."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code, str(fault), param=fault.shard)
        self.fault = fault
