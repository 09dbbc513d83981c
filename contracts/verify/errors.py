"""Why a verification could not be carried out; a wrong fact is not an error but a verdict."""


class CannotVerify(Exception):
    """The verification did not reach a verdict."""


class ChainUnavailable(CannotVerify):
    """The RPC endpoint failed, is another chain, or gave an unusable answer."""


class TaskUnknown(CannotVerify):
    """The chain has no task of that number."""


class ArtifactSourceFailed(CannotVerify):
    """The artifact source cannot be read; an artifact that is merely missing is not this error."""


class BadInput(CannotVerify):
    """A file or an option that the verification was given cannot be used."""


class TimedOut(CannotVerify):
    """The verification took longer than it was allowed to."""
