"""The worker's lease: which of several workers acts, and the number that keeps the others out.

Every time the lease changes hands its fence grows by one. What a worker writes it writes under its fence, in
the same transaction: a worker that lost the lease without noticing (it slept, or its clock is wrong) writes
nothing any more.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Lease:
    """Who may act, until when, and the how manieth holder this is."""

    holder: str
    fence: int
    expires_unix_s: int


def claimed(
    known: Lease | None, holder: str, fence: int | None, now_unix_s: int, duration_s: int
) -> Lease | None:
    """The lease that a worker gets that last held ``fence``; None while it is another's.

    Who still has it keeps it, also when it ran out and nobody came. A worker that has just been started gets
    that of its own name at once: its predecessor is dead, or shut out by the new fence.
    """
    expires_unix_s = now_unix_s + duration_s
    if known is None:
        return Lease(holder, 1, expires_unix_s)
    if fence == known.fence:
        return replace(known, expires_unix_s=expires_unix_s)
    is_namesake = fence is None and known.holder == holder
    if is_namesake or now_unix_s >= known.expires_unix_s:
        return Lease(holder, known.fence + 1, expires_unix_s)
    return None


def seized(known: Lease | None, holder: str, now_unix_s: int, duration_s: int) -> Lease:
    """The lease taken from whoever has it, by somebody who gives it back soon."""
    return Lease(holder, 1 if known is None else known.fence + 1, now_unix_s + duration_s)
