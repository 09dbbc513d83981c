"""The errors of the outer data plane, a shallow tree."""

from collections.abc import Collection


class TierGlobalError(Exception):
    """Something in the outer data plane went wrong; the message is one sentence for a person."""


class SetupError(TierGlobalError):
    """A file or a setting that a process needs is missing or wrong."""


class UnsafeKeyFile(SetupError):
    """A key file can be read by others than its owner, or does not hold a key."""


class BundleRefused(TierGlobalError):
    """A run came with an app bundle that the node's operator does not allow; ``digest`` is its SHA-256."""

    def __init__(self, digest: str, allowed: Collection[str]) -> None:
        super().__init__(
            f"a bundle came with SHA-256 {digest}; this node's operator allows {', '.join(allowed)}"
        )
        self.digest = digest


class MalformedExchange(TierGlobalError):
    """A Flower message does not hold a request or reply of the protocol."""


class ChainUnavailable(TierGlobalError):
    """The chain could not be asked, or gave an answer that cannot be read; trying again may help."""


class HubUnavailable(TierGlobalError):
    """The orchestrator could not be asked; trying again may help."""


class HubRefused(TierGlobalError):
    """The orchestrator refuses a request; asking again will not help."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"the orchestrator refuses ({status} {code}): {detail}")
        self.status = status
        self.code = code


class InnerJobFailed(TierGlobalError):
    """The network's inner job ended without a usable result."""


class InnerJobLate(InnerJobFailed):
    """The network's inner job did not end before its deadline."""


class InnerJobRefused(InnerJobFailed):
    """A hospital's policy forbids the work; ``rule`` is the rule's name."""

    def __init__(self, rule: str) -> None:
        super().__init__(f"policy rule {rule}")
        self.rule = rule


class NodeRefusal(TierGlobalError):
    """A node will not do what it was asked.

    ``code`` is machine-readable, and the message is fit for the eyes of the hub: no path, no figure of a
    hospital.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class RoundOverdue(TierGlobalError):
    """The round's phase is past its deadline, and nobody moves the round on."""
