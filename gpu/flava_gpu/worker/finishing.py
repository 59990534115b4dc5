"""How a held job ends: its result or its error brought to the gateway, whatever came of it. Imports no torch."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

import httpx2

from flava_gpu.worker.broker_client import BrokerClient, FatalRefusalError, RefusedError, UnavailableError
from flava_gpu.worker.contract import MAX_INLINE_BYTES, RESULT_OBJECT, Contract, ContractError
from flava_gpu.worker.heartbeat import Heartbeat
from flava_gpu.worker.held_job import HeldJob
from flava_gpu.worker.job import JobError, JobResult, LeaseLostError, StoppedError
from flava_gpu.worker.transfer import Transfer, disk_error

logger = logging.getLogger(__name__)

HAND_BACK_PATIENCE_SECONDS = 10.0
"""A worker that is going does not wait long for a gateway that is away: the lease ends by itself."""


class Finisher:
    """Ends jobs of one worker. Never raises for what a job or the gateway did; FatalRefusalError passes."""

    def __init__(
        self,
        client: BrokerClient,
        http: httpx2.Client,
        heartbeat: Heartbeat,
        worker: str,
        contract: Contract,
        workdir: Path,
    ) -> None:
        self._client = client
        self._http = http
        self._heartbeat = heartbeat
        self._worker = worker
        self._contract = contract
        self._workdir = workdir

    def end(self, held: HeldJob, outcome: JobResult | BaseException) -> None:
        """The lease is kept alive until the gateway has answered: it may be away for longer than a lease."""
        try:
            try:
                if isinstance(outcome, JobResult):
                    self._complete(held, outcome)
                else:
                    self._fail(held, outcome)
            except (LeaseLostError, UnavailableError, RefusedError):
                raise
            except Exception as error:
                self._fail(held, error)
        except LeaseLostError as error:
            logger.warning("%s: %s; what was done is dropped", held.lease.job, error)
        except FatalRefusalError:
            raise
        except (UnavailableError, RefusedError) as error:
            logger.error("%s: its end could not be told: %s", held.lease.job, error)
        except Exception:  # one job's end must not be the whole worker's
            logger.exception("%s: its end could not be told", held.lease.job)
        finally:
            self._heartbeat.release(held)

    def _complete(self, held: HeldJob, outcome: JobResult) -> None:
        try:
            self._contract.check(f"{held.lease.kind}.result", outcome.result)
            outcome = self._inline_or_uploaded(held, outcome)
            self._heartbeat.send_news(held)
            self._client.complete(
                self._worker, held.lease, outcome.result, outcome.outputs, outcome.usage, held.gpu_seconds()
            )
        except FatalRefusalError:
            raise
        except (ContractError, RefusedError, JobError, StoppedError) as error:
            self._fail(held, error)

    def _inline_or_uploaded(self, held: HeldJob, outcome: JobResult) -> JobResult:
        # ASCII: what a user sent may hold half a surrogate pair, for which UTF-8 has no bytes.
        text = json.dumps(outcome.result, allow_nan=False, separators=(",", ":")).encode()
        if len(text) <= MAX_INLINE_BYTES:
            return outcome
        try:
            with tempfile.NamedTemporaryFile(dir=self._workdir, suffix=".json") as file:
                file.write(text)
                file.flush()
                transfer = Transfer(self._client, self._http, self._worker, held)
                written = transfer.write(RESULT_OBJECT, Path(file.name))
        except OSError as error:
            raise disk_error(error, RESULT_OBJECT) from error
        return JobResult(None, outcome.usage, [*outcome.outputs, written])

    def _fail(self, held: HeldJob, error: BaseException) -> None:
        if isinstance(error, LeaseLostError):
            raise error
        self._heartbeat.send_news(held)
        patience = {}
        if isinstance(error, StoppedError):
            told, job_error = error.reason, None
            if told == "handed_back":
                patience = {"patience_seconds": HAND_BACK_PATIENCE_SECONDS}
        else:
            job_error = as_job_error(error)
            told = "retry" if job_error.retryable else "failed"
            logger.log(
                logging.WARNING if isinstance(error, JobError) else logging.ERROR,
                "%s: %s: %s",
                held.lease.job,
                job_error.code,
                # What is final is the data's fault and may quote them; what is tried again is the machine's.
                job_error if job_error.retryable else f"line {job_error.line}" if job_error.line else "not tried again",
                exc_info=None if isinstance(error, JobError) else error,
            )
        state = self._client.fail(
            self._worker, held.lease, told, job_error, held.untold_checkpoint, held.gpu_seconds(), **patience
        )
        logger.info("%s: %s, now %s", held.lease.job, told, state)


def as_job_error(error: BaseException) -> JobError:
    """What nobody foresaw may go away by itself; its text stays in this worker's log, since it may hold anything."""
    if isinstance(error, JobError):
        return error
    if isinstance(error, RefusedError):
        # The outputs of this attempt are not what it said they are: another attempt writes them anew.
        return JobError(error.code, str(error), retryable=error.code == "output_mismatch")
    if isinstance(error, OSError):
        return disk_error(error, "workdir")
    return JobError("worker_error", f"the worker failed: {type(error).__name__}", retryable=True)
