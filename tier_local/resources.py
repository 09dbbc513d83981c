"""Bounds on what a site's process takes of the machine, kept by the kernel and by torch's allocator."""

import os
import resource

from tier_local.errors import Refused
from tier_local.policy import Resources
from tier_local.rules import Rule


def hide_gpus(limits: Resources) -> None:
    """Hide all GPUs from this process where none is permitted. Call it before torch looks for one."""
    if limits.gpu_memory_share is None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def limit_memory(limits: Resources) -> None:
    """Bound this process's memory for good, and hide all GPUs where none is permitted.

    Call it before torch looks for a GPU. RLIMIT_DATA counts what a process can write to, shared libraries'
    and the allocator's pages among it, and not the base model's file, which is mapped to be read.

    Raises:
        Refused: the process has more already.
    """
    hide_gpus(limits)
    if limits.most_memory_bytes is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = limits.most_memory_bytes if hard == resource.RLIM_INFINITY else min(limits.most_memory_bytes, hard)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    except (ValueError, OSError) as error:
        raise Refused(Rule.MEMORY, f"the limit of {most} bytes cannot be set: {error}") from error


def limit_gpu(limits: Resources) -> None:
    """Bound torch's share of the GPU's memory, where there is one. Imports torch."""
    import torch

    if limits.gpu_memory_share is not None and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(limits.gpu_memory_share)


def refusal_of(error: Exception) -> Refused | None:
    """The refusal that an error means which came of one of these bounds; None for any other error."""
    if isinstance(error, MemoryError):
        return Refused(Rule.MEMORY, "the process reached its memory limit")
    if type(error).__name__ == "OutOfMemoryError":
        return Refused(Rule.GPU, "the process reached its share of the GPU's memory")
    # torch has no class of its own for the host's memory.
    if isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error):
        return Refused(Rule.MEMORY, "the process reached its memory limit")
    return None
