"""Versions of what several people may edit: whoever edits may name the version that they saw."""

from hashlib import sha256

from pydantic import TypeAdapter

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.views import TaskView

_VERSION_CHARACTERS = 32
_TASK = TypeAdapter(TaskView)


class PreconditionFailed(OrchestratorError):
    """It changed since whoever asks last read it."""

    code = "precondition_failed"


def version_of_task(view: TaskView) -> str:
    """A text that is another one when anything that is shown of the task is."""
    return sha256(_TASK.dump_json(view)).hexdigest()[:_VERSION_CHARACTERS]


def check_version(version: str, expected: frozenset[str] | None) -> None:
    """Refuse an edit of another version than one of the expected; None expects any.

    Raises:
        PreconditionFailed: it is another version.
    """
    if expected is not None and version not in expected:
        raise PreconditionFailed("it was changed since you read it; read it again, then decide")
