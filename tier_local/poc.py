"""An inner job in a federation of its own on this machine: provisioned, started and ended for that one job.

Unlike in the simulator, server and sites are the processes that a hospital network deploys, over mutual TLS,
with kits and keys of their own; unlike in a deployed federation, nothing of them is there before or after.
NVFlare's own POC environment keeps one workspace for all of a user's jobs, so this one is made with
``provision`` instead.

However the job ends, or whoever dies, its processes end and its folder is removed (``processes``); who asks
again gets a new one.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tier_local.errors import BadInput, JobFailed
from tier_local.exchange import Outcome, SiteFile
from tier_local.federation import run_in, session_of
from tier_local.job import LOG_FILE, JobRequest
from tier_local.kit import Kit, Role
from tier_local.participant import command_of, environment_of
from tier_local.processes import ProcessTree
from tier_local.provision import ADMIN_NAME, make_all
from tier_local.report import PROGRESS_FILE, Progress, Stage

_HOST = "localhost"
_PROJECT = "poc"
_POLL_SECONDS = 0.1


def run_poc(request: JobRequest) -> tuple[Outcome, bytes | None]:
    """The job's outcome and adapter; no process of it lives when this returns or raises.

    Raises:
        BadInput: the network file lacks a folder.
        DeadlinePassed: the deadline came first.
        JobFailed: the federation did not start, or ended without an outcome.
    """
    unit = "steps" if request.kind == "train" else "records"
    Progress(stage=Stage.STARTING, done=0, total=1, unit=unit).write(request.out_folder / PROGRESS_FILE)
    with tempfile.TemporaryDirectory(prefix="collegium-poc-") as folder:
        scratch = Path(folder)
        with ProcessTree.guard(exit_with_parent=request.exit_with_parent, scratch_folder=scratch) as tree:
            # The commands that make the kits are in the tree too.
            tree.mark_children()
            kits = _make_kits(request, scratch)
            processes = _start(request, kits, tree, scratch)
            _wait_for_server(request, kits[_HOST], processes)
            network = request.network.model_copy(
                update={"admin_kit": kits[ADMIN_NAME.format(_PROJECT)].folder}
            )
            deployed = replace(request, network=network)
            with session_of(deployed) as session:
                _wait_for_sites(request, session, processes)
                return run_in(session, deployed, scratch / "job")


def _make_kits(request: JobRequest, scratch: Path) -> dict[str, Kit]:
    network = request.network
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    request.check_deadline()
    kits = make_all(scratch, _PROJECT, _HOST, port, sorted(site.name for site in network.sites)).kits
    for site in network.sites:
        if site.data_folder is None or network.model_cache is None:
            raise BadInput("the network file says nothing of the sites' folders")
        kit = kits[site.name]
        kit.set_up_site(
            SiteFile(
                site=site.name,
                data_folder=site.data_folder,
                model_cache=network.model_cache,
                threads=network.threads_per_site,
                progress_file=kit.folder / "progress.json",
                process_file=kit.folder / "process",
                recipient=f"the server of {network.name}",
                is_embedded=True,
                policy_file=site.policy_file,
                state_folder=site.state_folder,
            )
        )
    return kits


def _start(
    request: JobRequest, kits: Mapping[str, Kit], tree: ProcessTree, scratch: Path
) -> dict[str, "subprocess.Popen[bytes]"]:
    (scratch / "tmp").mkdir()
    log = os.open(request.out_folder / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return {
            name: tree.start(
                command_of(kit),
                # What killed processes would leave in the system's temporary folder goes with this one.
                env=environment_of(kit) | {"TMPDIR": str(scratch / "tmp")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            for name, kit in kits.items()
            if kit.role is not Role.ADMIN
        }
    finally:
        os.close(log)


def _wait_for_server(
    request: JobRequest, server: Kit, processes: Mapping[str, "subprocess.Popen[bytes]"]
) -> None:
    while True:
        with contextlib.suppress(OSError), socket.create_connection(server.server_address(), timeout=1.0):
            return
        _wait_a_moment(request, processes)


def _wait_for_sites(
    request: JobRequest, session: Any, processes: Mapping[str, "subprocess.Popen[bytes]"]
) -> None:
    """Until all are in: a job would begin without those that come late."""
    sites = {site.name for site in request.network.sites}
    while sites - {client.name for client in session.get_connected_client_list()}:
        _wait_a_moment(request, processes)


def _wait_a_moment(request: JobRequest, processes: Mapping[str, "subprocess.Popen[bytes]"]) -> None:
    request.check_deadline()
    for name, process in processes.items():
        if process.poll() is not None:
            raise JobFailed(
                f"the process of {name} ended with exit code {process.returncode} before the job; "
                f"the log is {request.out_folder / LOG_FILE}"
            )
    time.sleep(_POLL_SECONDS)
