"""Objects of a job, streamed through presigned URLs to and from files, with their hashes checked. Imports no torch.

A URL opens one object for a short while: after a failure the transfer goes on, or begins again, with a fresh one.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2

from flava_gpu.worker.broker_client import BrokerClient
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.job import JobError
from flava_gpu.worker.messages import JobObject, ReadUrl, WriteUrl

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
ATTEMPTS = 6
LONGEST_PAUSE_SECONDS = 8.0
TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
PARTIAL_CONTENT = 206
DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class MissingObjectError(httpx2.RemoteProtocolError):
    """The object store has no such object, or not yet."""


class Transfer:
    """Reads and writes the objects of one held job. Raises JobError, retryable, when a transfer cannot be done."""

    def __init__(self, client: BrokerClient, http: httpx2.Client, worker: str, held: HeldJob) -> None:
        self._client = client
        self._http = http
        self._worker = worker
        self._held = held
        self._check = held.check

    def undisturbed(self) -> Transfer:
        """For the last checkpoint of a job that was asked to stop: ended by the loss of the lease alone."""
        transfer = Transfer(self._client, self._http, self._worker, self._held)
        transfer._check = self._held.check_lost
        return transfer

    def read(self, item: JobObject, path: Path) -> None:
        """Writes the object to `path`, which is whole and of the hash that was promised, or not there."""
        # By thread: both lanes may want the same file of a model at once.
        partial = path.with_name(f"{path.name}.{threading.get_ident()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._read_whole(item, partial)
            partial.replace(path)
        except OSError as error:
            raise disk_error(error, item.name) from error
        finally:
            partial.unlink(missing_ok=True)

    def read_checkpoint(self, item: JobObject, path: Path) -> None:
        """As `read`, for an object to go on from: where it is not what it was, the gateway has to offer an earlier one."""
        try:
            self.read(item, path)
        except JobError as error:
            if error.code not in ("input_mismatch", "object_missing"):
                raise
            raise JobError("checkpoint_unreadable", str(error), retryable=True) from error

    def write(self, name: str, path: Path) -> JobObject:
        """Uploads `path` as the job's object `name`."""
        item = describe(name, path)
        self._attempt(f"upload of {name}", lambda: self._put(item, path))
        return item

    def _read_whole(self, item: JobObject, partial: Path) -> None:
        with partial.open("wb") as file:
            digest = hashlib.sha256()
            received = 0

            def go_on() -> None:
                nonlocal digest, received
                with self._http.stream(
                    "GET",
                    self._read_url(item).url,
                    headers={"range": f"bytes={received}-"} if received else {},
                    timeout=TIMEOUT,
                ) as response:
                    raise_for_status(response)
                    if received and response.status_code != PARTIAL_CONTENT:
                        file.seek(0)
                        file.truncate()
                        digest, received = hashlib.sha256(), 0
                    for chunk in response.iter_raw(CHUNK_BYTES):
                        self._check()
                        file.write(chunk)
                        digest.update(chunk)
                        received += len(chunk)
                        if received > item.bytes:
                            break
                if received < item.bytes:
                    raise httpx2.RemoteProtocolError(f"{item.name}: ended after {received} of {item.bytes} bytes")

            self._attempt(f"download of {item.name}", go_on)
        if received != item.bytes or digest.hexdigest() != item.sha256:
            raise JobError(
                "input_mismatch",
                f"{item.name}: expected {item.bytes} bytes with SHA-256 {item.sha256}, got others",
                retryable=True,
            )

    def _put(self, item: JobObject, path: Path) -> None:
        response = self._http.put(
            self._write_url(item).url,
            content=self._chunks(path),
            headers={"content-length": str(item.bytes)},
            timeout=TIMEOUT,
        )
        raise_for_status(response)

    def _chunks(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                self._check()
                yield chunk

    def _read_url(self, item: JobObject) -> ReadUrl:
        reads, _ = self._client.urls(self._worker, self._held.lease, [item.name], [])
        return reads[0]

    def _write_url(self, item: JobObject) -> WriteUrl:
        _, writes = self._client.urls(self._worker, self._held.lease, [], [item])
        return writes[0]

    def _attempt(self, what: str, act: Callable[[], None]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            self._check()
            try:
                act()
                return
            except httpx2.TransportError as error:
                if attempt == ATTEMPTS:
                    code = "object_missing" if isinstance(error, MissingObjectError) else "transfer_failed"
                    raise JobError(code, f"{what}: {error}", retryable=True) from error
                logger.warning("%s, attempt %d of %d: %s", what, attempt, ATTEMPTS, error)
            self._pause(min(LONGEST_PAUSE_SECONDS, 0.1 * 4 ** (attempt - 1)))

    def _pause(self, seconds: float) -> None:
        """Ends early when the job is lost or stopped."""
        until = time.monotonic() + seconds
        with self._held.changed:
            while (left := until - time.monotonic()) > 0:
                self._held.changed.wait(left)
                self._check()


def describe(name: str, path: Path) -> JobObject:
    """Length and hash of a file, as the job's object `name`."""
    digest = hashlib.sha256()
    length = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            length += len(chunk)
    return JobObject(name, length, digest.hexdigest())


def raise_for_status(response: httpx2.Response) -> None:
    """A presigned URL that has expired answers 403 and one for an object in the making 404: both are worth a fresh one."""
    if response.status_code == 404:
        raise MissingObjectError("the object store answered 404")
    if response.status_code >= 300:
        # The address holds a signature: only the status is told.
        raise httpx2.RemoteProtocolError(f"the object store answered {response.status_code}")


def disk_error(error: OSError, name: str) -> JobError:
    """A disk may be emptier the next time, or another worker's larger."""
    if error.errno in DISK_ERRNOS:
        return JobError("disk_full", f"{name}: no space is left on the worker's disk", retryable=True)
    return JobError("disk_error", f"{name}: {error.strerror or error}", retryable=True)


def new_http() -> httpx2.Client:
    """For presigned URLs: without the worker's token, and without compression, which would change lengths."""
    return httpx2.Client(headers={"accept-encoding": "identity"}, timeout=TIMEOUT)
