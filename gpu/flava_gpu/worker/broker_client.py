"""The gateway's worker routes over HTTP. Knows the messages and their errors, nothing of what jobs do; imports no torch.

A gateway that is restarting looks like refused connections and 5xx for a while: calls wait it out with growing pauses, as
long as their caller is patient. Whether a late answer still counts is the fence's to say, never a clock's.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, wait_exponential_jitter

from flava_gpu.worker.contract import CONTRACT_HEADER, MAX_URLS, Contract, ContractError
from flava_gpu.worker.job import JobError, LeaseLostError, Usage
from flava_gpu.worker.messages import Checkpoint, JobObject, Lease, ReadUrl, WorkerDescription, WriteUrl

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
POLL_MARGIN_SECONDS = 15.0
HEARTBEAT_SECONDS = 10.0
COMPLETE_SECONDS = 300.0
"""The gateway reads every output again before it answers."""
PATIENCE_SECONDS = 900.0
"""How long the end of a job is offered to a gateway that is away: days of work may hang on it."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
TOO_MANY_REQUESTS = 429


class UnavailableError(Exception):
    """The gateway did not answer, or answered that it cannot now; the same call may succeed later."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RefusedError(Exception):
    """The gateway understood the call and says no; the same call would be refused again."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code


class FatalRefusalError(RefusedError):
    """Refused for who or what this worker is: its token, or the contract version it speaks."""


@dataclass(frozen=True)
class HeartbeatAnswer:
    is_held: bool
    should_cancel: bool
    should_pause: bool


class BrokerClient:
    """One gateway and one token; safe to use from several threads. `stopping` ends the waits of `lease`, of nothing else."""

    def __init__(self, url: str, token: str, contract: Contract, stopping: threading.Event) -> None:
        self._contract = contract
        self._stopping = stopping
        self._http = httpx2.Client(
            base_url=url.rstrip("/") + "/v1/worker/",
            headers={
                "authorization": f"Bearer {token}",
                "content-type": "application/json",
                CONTRACT_HEADER: str(contract.version),
            },
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            # A connection that the gateway closed while it was idle costs an error and a pause; new ones are cheap.
            limits=httpx2.Limits(max_keepalive_connections=8, keepalive_expiry=30.0),
        )

    def close(self) -> None:
        self._http.close()

    def lease(self, worker: WorkerDescription, max_jobs: int, lease_ms: int, wait_ms: int) -> list[Lease]:
        """Jobs to do, none when there are none within `wait_ms` or the worker is stopping. Waits for an absent gateway."""
        body = {"worker": worker.to_json(), "max_jobs": max_jobs, "lease_ms": lease_ms, "wait_ms": wait_ms}
        timeout = wait_ms / 1000 + POLL_MARGIN_SECONDS
        try:
            answer = self._patiently(
                lambda: self._post("lease", body, timeout, "LeaseResponse"), stopping=self._stopping
            )
        except UnavailableError:
            return []  # stopping
        return [Lease.of(raw) for raw in answer["leases"]]

    def heartbeat(self, worker: str, lease_ms: int, jobs: list[dict[str, Any]]) -> dict[str, HeartbeatAnswer]:
        """What is to become of each job, by its id. One try: the next heartbeat is the next one."""
        body = {"worker": worker, "lease_ms": lease_ms, "jobs": jobs}
        answer = self._post("heartbeat", body, HEARTBEAT_SECONDS, "HeartbeatResponse")
        return {
            raw["job"]: HeartbeatAnswer(raw["is_held"], raw["should_cancel"], raw["should_pause"])
            for raw in answer["jobs"]
        }

    def complete(
        self, worker: str, lease: Lease, result: Any, outputs: list[JobObject], usage: Usage, gpu_seconds: float
    ) -> bool:
        """False when this completion had arrived before. Raises LeaseLostError when the job is another's by now."""
        body = {
            **identify(worker, lease),
            "result": result,
            "outputs": [item.to_json() for item in outputs],
            "usage": {"gpu_seconds": gpu_seconds, "tokens": usage.tokens, "images": usage.images},
        }
        return self._patiently(
            lambda: self._post("complete", body, COMPLETE_SECONDS, "CompleteResponse"), PATIENCE_SECONDS
        )["is_first"]

    def fail(
        self,
        worker: str,
        lease: Lease,
        outcome: str,
        error: JobError | None,
        checkpoint: Checkpoint | None,
        gpu_seconds: float,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> str:
        """The state that the job is in now."""
        body = {
            **identify(worker, lease),
            "outcome": outcome,
            "error": None if error is None else error.to_json(),
            "checkpoint": None if checkpoint is None else checkpoint.to_json(),
            "gpu_seconds": gpu_seconds,
        }
        return self._patiently(lambda: self._post("fail", body, ANSWER_SECONDS, "FailResponse"), patience_seconds)[
            "state"
        ]

    def urls(
        self, worker: str, lease: Lease, reads: list[str], writes: list[JobObject]
    ) -> tuple[list[ReadUrl], list[WriteUrl]]:
        """Short-lived URLs, one for each name; at most MAX_URLS of a kind."""
        assert len(reads) <= MAX_URLS
        assert len(writes) <= MAX_URLS
        body = {**identify(worker, lease), "reads": reads, "writes": [item.to_json() for item in writes]}
        answer = self._patiently(lambda: self._post("urls", body, ANSWER_SECONDS, "UrlsResponse"), PATIENCE_SECONDS)
        return [ReadUrl(**raw) for raw in answer["reads"]], [WriteUrl(**raw) for raw in answer["writes"]]

    def _patiently(
        self,
        call: Callable[[], Any],
        patience_seconds: float = float("inf"),
        stopping: threading.Event | None = None,
    ) -> Any:
        """`call` again while the gateway is unavailable, until it answers, patience ends or `stopping` is set."""
        until = time.monotonic() + patience_seconds
        pause = wait_exponential_jitter(
            multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS, jitter=FIRST_PAUSE_SECONDS
        )

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome is not None else None
            asked = error.retry_after_seconds if isinstance(error, UnavailableError) else None
            return max(pause(state), asked or 0)

        retrying = Retrying(
            retry=retry_if_exception_type(UnavailableError),
            wait=wait,
            stop=lambda _: (stopping is not None and stopping.is_set()) or time.monotonic() > until,
            before_sleep=log_first_failure,
            sleep=time.sleep if stopping is None else sleep_using_event(stopping),
            reraise=True,
        )
        return retrying(call)

    def _post(self, route: str, body: dict[str, Any], timeout: float, answer_name: str) -> dict[str, Any]:
        # ASCII: what a user sent may hold half a surrogate pair, for which UTF-8 has no bytes.
        content = json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
        try:
            response = self._http.post(route, content=content, timeout=httpx2.Timeout(timeout, connect=CONNECT_SECONDS))
        except httpx2.TransportError as error:
            raise UnavailableError(f"{route}: {type(error).__name__}: {error}") from error
        if response.status_code >= 500 or response.status_code in (TOO_MANY_REQUESTS, 408):
            raise UnavailableError(f"{route}: answered {response.status_code}", retry_after(response))
        try:
            answer = response.json()
        except ValueError as error:
            raise UnavailableError(f"{route}: answered {response.status_code} without JSON") from error
        if response.status_code >= 400:
            raise refusal(response.status_code, answer)
        self._check_version(response)
        try:
            self._contract.check(answer_name, answer)
        except ContractError as error:
            raise FatalRefusalError(response.status_code, "contract_violated", str(error)) from error
        return answer

    def _check_version(self, response: httpx2.Response) -> None:
        theirs = response.headers.get(CONTRACT_HEADER)
        if theirs == str(self._contract.version):
            return
        told = "none" if theirs is None else f"version {theirs}"
        raise FatalRefusalError(
            response.status_code,
            "contract_version_unsupported",
            f"this worker speaks version {self._contract.version} of the worker contract, the gateway told {told}",
        )


def identify(worker: str, lease: Lease) -> dict[str, Any]:
    return {"worker": worker, "job": lease.job, "fence": lease.fence}


def refusal(status: int, answer: object) -> Exception:
    """The exception for an answer in OpenAI's error shape."""
    error = answer.get("error") if isinstance(answer, dict) else None
    code, message = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, None)
    code, message = str(code or "unknown"), str(message or "no message")
    if status == 409 and code == "stale_lease":
        return LeaseLostError(message)
    if status in (401, 403) or code == "contract_version_unsupported":
        return FatalRefusalError(status, code, message)
    return RefusedError(status, code, message)


def retry_after(response: httpx2.Response) -> float | None:
    try:
        return max(0.0, min(60.0, float(response.headers["retry-after"])))
    except (KeyError, ValueError):
        return None


def log_first_failure(state: RetryCallState) -> None:
    """A gateway that is away is worth one line, not one for each try."""
    error = state.outcome.exception() if state.outcome is not None else None
    level = logging.WARNING if state.attempt_number == 1 else logging.DEBUG
    logger.log(level, "the gateway is unavailable, trying again: %s", error)
