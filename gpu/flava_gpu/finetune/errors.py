"""Why a fine-tuning run cannot go on, with the exit code that tells the worker whether another try may help."""

from __future__ import annotations

from flava_gpu.finetune.protocol import EXIT_BAD_DATA, EXIT_CRASH, ErrorEvent

MAX_MESSAGE_CHARACTERS = 4096
"""Of the worker contract."""


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

    def to_event(self) -> ErrorEvent:
        message = str(self)
        if len(message) > MAX_MESSAGE_CHARACTERS:
            message = message[: MAX_MESSAGE_CHARACTERS - 1] + "…"
        return ErrorEvent(self.code, message, self.param, self.line, self.exit_code)


class StoppedError(Exception):
    """SIGTERM or SIGINT came before there was a step to keep."""


def crash(code: str, message: str) -> TrainingError:
    """A failure of the machine rather than of the data: another try may do better."""
    return TrainingError(code, message, exit_code=EXIT_CRASH)
