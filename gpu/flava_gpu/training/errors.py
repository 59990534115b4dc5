"""Why a training run cannot go on, with the exit code that tells whether another try may help. Imports no torch."""

from __future__ import annotations

EXIT_CRASH = 1
EXIT_BAD_DATA = 65  # EX_DATAERR: another attempt would meet the same rows


class TrainingError(Exception):
    """A stable `code`; `param` and `line` name the data file and the place in it."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        line: int | None = None,
        exit_code: int = EXIT_BAD_DATA,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.line = line
        self.exit_code = exit_code


class StoppedError(Exception):
    """SIGTERM or SIGINT came before there was a step to keep."""


def crash(code: str, message: str) -> TrainingError:
    """A failure of the machine rather than of the data: another try may do better."""
    return TrainingError(code, message, exit_code=EXIT_CRASH)
