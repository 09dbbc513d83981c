"""The environment in which the processes of a federation run, simulated or deployed."""

import os
from pathlib import Path

import tier_local
from tier_local.exchange import SITE_FILES_VARIABLE

_FOR_ALL = {
    # No library may look for a model hub or another accelerator of tokenising than the site's threads.
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    # When a job is over, NVFlare's server would wait so long (900 s) for what each site's process says of its
    # end. What the sites answered is all that counts, and it is there.
    "NVFLARE_CLIENT_OUTCOME_WAIT_TIMEOUT": "0",
    # A site that says that its process of a job is dead will not answer; NVFlare would wait for a minute.
    "NVFLARE_DEAD_CLIENT_GRACE_PERIOD": "3",
    "NVFLARE_DEAD_CLIENT_CHECK_LEAD_TIME": "3",
    # NVFlare takes a buffer of this size (1 MiB) for every message, also for one of a few words, and keeps it
    # for a while; a server has a hundred of them.
    "NVFLARE_STREAMING_CHUNK_SIZE": str(128 << 10),
}
OF_A_SERVER = {
    # A server's process moves pieces of adapters between many threads. The C library would keep a heap for
    # each of them, and what is freed in it; so what a piece took goes back to the system at once.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
"""For the processes of a deployed server; sites compute, and are faster without. glibc's (mallopt(3)); other
C libraries do not look at it."""

_NOT_INHERITED = ("NVFLARE_SIMULATOR_WORKSPACE_ROOT", "NVFL_WORKSPACE")


def federation_environment(threads: int, site_files: Path) -> dict[str, str]:
    """This process's environment, for NVFlare's processes; ``site_files`` holds the sites' own files."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    own_packages = str(Path(tier_local.__file__).parent.parent)
    return environment | {
        **_FOR_ALL,
        "PYTHONPATH": os.pathsep.join(filter(None, [own_packages, environment.get("PYTHONPATH", "")])),
        "OMP_NUM_THREADS": str(threads),
        SITE_FILES_VARIABLE: str(site_files),
    }
