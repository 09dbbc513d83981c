"""The one error tree of an inner round; each error knows the exit code it ends the command with."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command ``python -m tier_local`` says when it ends."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    DEADLINE_PASSED = 4


class InnerRoundError(Exception):
    """An inner round did not finish; the message is one sentence for a person."""

    exit_code = ExitCode.FAILED


class JobFailed(InnerRoundError):
    """The federation of the hospitals ended without a result."""


class BadInput(InnerRoundError):
    """Something that was handed in is missing, malformed, or does not fit the task."""

    exit_code = ExitCode.BAD_INPUT


class DeadlinePassed(InnerRoundError):
    """The deadline came before the result."""

    exit_code = ExitCode.DEADLINE_PASSED
