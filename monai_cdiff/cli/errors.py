"""How a command ends that could not do its work."""

from __future__ import annotations

__all__ = ["FAILURE", "WRONG_INPUT", "CommandError"]

FAILURE, WRONG_INPUT = 1, 2


class CommandError(Exception):
    """An error with the exit code of the command.

    Args:
        cause: what the user reads.
        code: the exit code.
    """

    def __init__(self, cause: BaseException, code: int) -> None:
        super().__init__(str(cause))
        self.cause, self.code = cause, code
