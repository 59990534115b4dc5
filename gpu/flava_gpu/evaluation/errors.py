"""What stops an evaluation. Each has a stable code; the command prints `code: message`."""

from __future__ import annotations


class EvaluationError(Exception):
    code = "evaluation_failed"


class DataMissingError(EvaluationError):
    """Data has not been made on this machine."""

    code = "data_missing"


class EvaluationDataError(EvaluationError):
    """Data is there and does not give what a task needs."""

    code = "evaluation_data_invalid"


class CheckpointMissingError(EvaluationError):
    """The fp32 checkpoint of a package is not on this machine."""

    code = "checkpoint_missing"


class EngineFailedError(EvaluationError):
    """An engine did not give one answer per item."""

    code = "engine_failed"


class HeadMissingError(EvaluationError):
    """The head that a suite asks was not trained."""

    code = "head_missing"
