"""Why the control plane says no: a shallow tree, each error with a stable code and one public sentence."""


class OrchestratorError(Exception):
    """The control plane cannot do what was asked; the message is one sentence for a person."""

    code = "internal"


class NotFound(OrchestratorError):
    """What was asked for does not exist, or not yet."""

    code = "not_found"


class UnknownNode(NotFound):
    """The node was never admitted."""

    code = "unknown_node"


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


class WrongNode(Conflict):
    """The message is of another node than the one it was sent for."""

    code = "wrong_node"


class WrongContext(Conflict):
    """The message was signed for another state of the round."""

    code = "wrong_context"


class WrongNonce(Conflict):
    """The message does not carry the node's next nonce."""

    code = "wrong_nonce"


class NodeDismissed(Conflict):
    """The council has dismissed the node."""

    code = "node_dismissed"


class NotApproved(Conflict):
    """The node does not approve the task, so there is nothing to take back."""

    code = "not_approved"


class InOpenRounds(Conflict):
    """The node has a seat in rounds that are not closed yet."""

    code = "in_open_rounds"


class SlashesPending(Conflict):
    """The node waits for slashes to be waived or executed."""

    code = "slashes_pending"


class NothingMature(Conflict):
    """Nothing of the node's stake can be paid out yet."""

    code = "nothing_mature"


class NothingToClaim(Conflict):
    """The node has no rewards that were not paid yet."""

    code = "nothing_to_claim"


class NothingToRefund(Conflict):
    """The task is not over, or its pool is empty."""

    code = "nothing_to_refund"


class TaskPaused(Conflict):
    """The task is paused already."""

    code = "task_paused"


class TaskNotPaused(Conflict):
    """The task is not paused."""

    code = "task_not_paused"


class TaskOver(Conflict):
    """The task was cancelled, or its last round is closed."""

    code = "task_over"


class SlashSettled(Conflict):
    """The slash was waived or executed before."""

    code = "slash_settled"


class AppealOver(Conflict):
    """The time to waive the slash is over."""

    code = "appeal_over"


class AppealOpen(Conflict):
    """The council may still waive the slash, so nobody may execute it yet."""

    code = "appeal_open"


class Unacceptable(OrchestratorError):
    """The request is well formed, and what it says is wrong."""

    code = "unacceptable"


class BadSignature(Unacceptable):
    """The signature is not by the key that must sign such a message."""

    code = "bad_signature"


class Expired(Unacceptable):
    """The message may not be relayed any more."""

    code = "expired"


class WrongSpec(Unacceptable):
    """The approval is for another spec than the task's."""

    code = "wrong_spec"


class InsufficientStake(Unacceptable):
    """The exit asks for more than the node stakes."""

    code = "insufficient_stake"


class WrongSuccessor(Unacceptable):
    """The council has named another registry to move to, or none."""

    code = "wrong_successor"


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


class WebhookRefused(Unacceptable):
    """A webhook may not go to that address."""

    code = "webhook_refused"


class TooLarge(OrchestratorError):
    """The body is larger than the limit."""

    code = "too_large"


class TooManyRequests(OrchestratorError):
    """Whoever asks has asked too often; ``retry_after_s`` says when asking again makes sense."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooSlow(OrchestratorError):
    """The body did not come in time."""

    code = "too_slow"


class Unavailable(OrchestratorError):
    """Something the control plane depends on does not answer; trying again may help."""

    code = "unavailable"
