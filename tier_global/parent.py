"""A process that must not outlive the one that started it."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have this process get SIGTERM when ``parent``, which started it, ends in any way; Linux only.

    Raises:
        ProcessLookupError: the parent is gone already.
        OSError: the kernel does not offer it.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    # Looked at with the signal ordered: an orphan has another parent.
    if os.getppid() != parent:
        raise ProcessLookupError(f"process {parent}, which started this one, is gone")
