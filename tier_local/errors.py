"""The one error tree of an inner round; each error knows the exit code it ends the command with."""

from enum import IntEnum

from tier_local.rules import Rule


class ExitCode(IntEnum):
    """What the command ``python -m tier_local`` says when it ends."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
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


class Refused(InnerRoundError):
    """A hospital's policy forbids what it was asked.

    What leaves the hospital is the rule's name and that rule's fixed sentence. ``detail`` may name paths and
    figures, and stays in the hospital's own log.
    """

    exit_code = ExitCode.REFUSED

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(f"policy rule {rule.value}: {rule.sentence}")
        self.rule = rule
        self.detail = detail


class RefusedBySite(InnerRoundError):
    """A hospital's policy refused the job; ``site`` and ``rule`` say which one by what."""

    exit_code = ExitCode.REFUSED

    def __init__(self, site: str, rule: Rule) -> None:
        super().__init__(f"site {site}: policy rule {rule.value}: {rule.sentence}")
        self.site = site
        self.rule = rule
