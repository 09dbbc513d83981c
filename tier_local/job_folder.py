"""The folder of an inner job, as NVFlare's servers take it: configuration and adapters, and no code.

The classes that a job names are installed where they run, and stand in the lists of allowed classes of
the server and the sites. So a site can refuse every job that brings code, and still take part.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from tier_local.exchange import JOB_FILE, JobFile

JOB_NAME = "inner-round"
CONTROLLER_CLASS = "tier_local.controller.InnerRoundController"
EXECUTOR_CLASS = "tier_local.executor.HospitalExecutor"
CONFIG_FOLDER = "config"
TASK_REQUEST_SECONDS = 0.2
TRAIN_TASK, MEASURE_TASK = "train", "measure"

_PIECE_BYTES = 8 << 20
"""NVFlare takes no larger file than 10 MiB in a job with a submit token."""
_SERVER_APP, _SITE_APP = "server", "site"
_NVFLARE_SERVER_NAME = "server"


def write_job_folder(parent: Path, job: JobFile, spec: bytes, adapters: Mapping[str, bytes]) -> Path:
    """Write the job below ``parent``; equal arguments give equal files. Returns the job's folder.

    ``adapters`` are the bytes of the files that ``job.adapters`` names, by the same names.
    """
    folder = parent / JOB_NAME
    server, site = folder / _SERVER_APP / CONFIG_FOLDER, folder / _SITE_APP / CONFIG_FOLDER
    for config in (server, site):
        config.mkdir(parents=True)
    _write_json(
        folder / "meta.json",
        {
            "name": JOB_NAME,
            "deploy_map": {_SERVER_APP: [_NVFLARE_SERVER_NAME], _SITE_APP: list(job.sites)},
            "min_clients": job.least_sites,
            "resource_spec": {},
        },
    )
    _write_json(
        server / "config_fed_server.json",
        {
            "format_version": 2,
            # How often a site that waits asks for its task; NVFlare's default is 2 seconds.
            "server": {"task_request_interval": TASK_REQUEST_SECONDS},
            "workflows": [{"id": "inner_round", "path": CONTROLLER_CLASS, "args": {}}],
            "components": [],
        },
    )
    _write_json(
        site / "config_fed_client.json",
        {
            "format_version": 2,
            "executors": [
                {"tasks": [TRAIN_TASK, MEASURE_TASK], "executor": {"path": EXECUTOR_CLASS, "args": {}}}
            ],
            "components": [],
        },
    )
    job.write(server / JOB_FILE)
    (server / job.spec_file).write_bytes(spec)
    for name, files in job.adapters.items():
        for number, file in enumerate(files):
            (server / file).write_bytes(adapters[name][number * _PIECE_BYTES : (number + 1) * _PIECE_BYTES])
    return folder


def piece_names(prefix: str, data: bytes) -> tuple[str, ...]:
    """The files that hold an adapter in a job's folder, in their order."""
    return tuple(f"{prefix}-{number}" for number in range(math.ceil(len(data) / _PIECE_BYTES)))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
