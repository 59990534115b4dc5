"""What can come of a job besides its result, as exceptions, and what a result is. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from flava_gpu.worker.contract import shorten
from flava_gpu.worker.messages import JobObject


class JobError(Exception):
    """A job that cannot be done. The runner alone decides between retry and failure, by `retryable`."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        param: str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.param = param
        self.line = line

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": shorten(str(self)) or self.code,
            "param": None if self.param is None else shorten(self.param, 256),
            "line": self.line,
        }


class LeaseLostError(Exception):
    """Another worker holds the job, or it has ended: whatever is done for it from now on is of no use."""


class StoppedError(Exception):
    """The job was stopped on request, for `reason`; what is worth keeping lies in its last checkpoint."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason: StopReason = reason


StopReason = Literal["cancelled", "paused", "handed_back"]
"""The outcome that is told to the gateway."""


@dataclass(frozen=True)
class Usage:
    tokens: int = 0
    images: int = 0


@dataclass(frozen=True)
class JobResult:
    """`result` is JSON that fits the contract's `<kind>.result`; `outputs` are uploaded already."""

    result: Any
    usage: Usage = Usage()
    outputs: list[JobObject] = field(default_factory=list)
