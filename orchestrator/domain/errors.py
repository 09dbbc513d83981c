"""Why the control plane says no: a shallow tree, each error with a stable code and one public sentence."""


class OrchestratorError(Exception):
    """The control plane cannot do what was asked; the message is one sentence for a person."""

    code = "internal"


class NotFound(OrchestratorError):
    """What was asked for does not exist, or not yet."""

    code = "not_found"


class NotAllowed(OrchestratorError):
    """Whoever asks may not do this."""

    code = "not_allowed"


class NotDrawn(NotAllowed):
    """The node has no role in this round that allows the message."""

    code = "not_drawn"


class NotPublicYet(NotAllowed):
    """The artifact may be read only when its round's proposal phase is over."""

    code = "not_public_yet"


class Unauthenticated(OrchestratorError):
    """The request carries no valid token."""

    code = "unauthenticated"


class Conflict(OrchestratorError):
    """The request contradicts what is already recorded."""

    code = "conflict"


class WrongPhase(Conflict):
    """The round does not take this message in its present phase."""

    code = "wrong_phase"


class DeadlinePassed(Conflict):
    """The phase's deadline is over."""

    code = "deadline_passed"


class WrongRound(Conflict):
    """The message is for another task or round than the one it was sent to."""

    code = "wrong_round"


class WrongContext(Conflict):
    """The message was signed for another state of the round."""

    code = "wrong_context"


class Unacceptable(OrchestratorError):
    """The request is well formed, and what it says is wrong."""

    code = "unacceptable"


class BadSignature(Unacceptable):
    """The signature is not the node's signing key's."""

    code = "bad_signature"


class WrongCommitment(Unacceptable):
    """The revealed scores and salt are not those that the node committed to."""

    code = "wrong_commitment"


class WrongScoreCount(Unacceptable):
    """A reveal has one score for each proposal of the round."""

    code = "wrong_score_count"


class WrongTerms(Unacceptable):
    """A task's terms contradict its spec or the protocol's bounds."""

    code = "wrong_terms"


class RepeatsParent(Unacceptable):
    """A proposal repeats the adapter that its round starts from."""

    code = "repeats_parent"


class RepeatsAccepted(Unacceptable):
    """A proposal repeats an adapter that a final round of the task has accepted before."""

    code = "repeats_accepted"


class ArtifactMissing(Unacceptable):
    """An artifact that the request names is not stored."""

    code = "artifact_missing"


class ArtifactDigestMismatch(Unacceptable):
    """The bytes do not have the digest they were sent under."""

    code = "digest_mismatch"


class TooLarge(OrchestratorError):
    """The body is larger than the limit."""

    code = "too_large"


class TooSlow(OrchestratorError):
    """The body did not come in time."""

    code = "too_slow"


class Unavailable(OrchestratorError):
    """Something the control plane depends on does not answer; trying again may help."""

    code = "unavailable"
