"""A provisioned federation of hospitals on this machine: real processes, TLS, real kits."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvflare.fuel.flare_api.flare_api import new_secure_session
from typer.testing import CliRunner

from tests.integration.flower_rig import free_port
from tests.integration.local_world import REPOSITORY, LocalWorld
from tests.unit.local_policies import policy_fields
from tier_local.deployment_cli import app
from tier_local.exchange import SiteFile
from tier_local.kit import Kit
from tier_local.report import Progress

NETWORK = "aurora"
SITES = ("hospital-1", "hospital-2")
_SERVE = """
import sys
from pathlib import Path
from tier_local.kit import Kit
from tier_local.participant import serve
serve(Kit.at(Path(sys.argv[1])), exit_with_parent=int(sys.argv[2]))
"""


@dataclass
class Federation:
    """The kits of a network by the names of their holders, and the processes that serve them."""

    world: LocalWorld
    kits: dict[str, Kit]
    processes: dict[str, subprocess.Popen[bytes]]
    sites: tuple[str, ...] = SITES

    @property
    def admin(self) -> Kit:
        return self.kits["admin"]

    def network_file(self, name: str, **more: Any) -> Path:
        """A network file whose rounds run in this federation."""
        file = self.world.folder / name
        file.write_text(
            json.dumps(
                {
                    "name": NETWORK,
                    "sites": [{"name": site} for site in self.sites],
                    "environment": "production",
                    "admin_kit": str(self.admin.folder),
                    **more,
                }
            )
        )
        return file

    def policy_file(self, site: str) -> Path:
        """The hospital's policy."""
        return policy_folder(self.world, site) / "policy.json"

    def change_policy(self, site: str, **changes: Any) -> None:
        """Write the hospital's policy anew, as at first but for ``changes``."""
        write_policy(self.world, site, **changes)

    def site_file(self, site: str) -> SiteFile:
        """What the hospital works with."""
        return SiteFile.at(self.kits[site].site_files_folder, site)

    @contextmanager
    def session(self) -> Iterator[Any]:
        """NVFlare's own session as the admin."""
        session = new_secure_session(self.admin.name, str(self.admin.folder))
        try:
            yield session
        finally:
            session.close()

    def start(self, name: str) -> None:
        """Serve one kit."""
        kit = self.kits[name]
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(kit.folder), str(os.getpid())],
            cwd=REPOSITORY,
            stderr=(kit.folder / "serve.log").open("ab"),
        )

    def times_let_in(self, site: str) -> int:
        """How often the server has let a site in so far."""
        log = self.kits["server"].folder / "log.txt"
        return log.read_text().count(f"New client {site}@") if log.exists() else 0

    def all_sites_are_in(self) -> bool:
        """Whether the server has let all sites in."""
        return all(self.times_let_in(site) for site in self.sites)

    def freeze(self, name: str, signal_number: signal.Signals = signal.SIGSTOP) -> list[int]:
        """Send all processes that serve a kit a signal; their numbers."""
        found = self.processes_of(name)
        for process in found:
            os.kill(process, signal_number)
        return found

    def stop(self) -> None:
        """End all that was started."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(60)

    def server_listens(self) -> bool:
        """Whether sites can connect."""
        with socket.socket() as client:
            return client.connect_ex(self.kits["server"].server_address()) == 0

    def connected_sites(self) -> list[str]:
        """The sites that are connected with the server now, as ``collegium local status`` says."""
        shown = CliRunner().invoke(app, ["status", str(self.admin.folder), "--json"])
        assert shown.exit_code == 0, shown.output
        sites: list[str] = json.loads(shown.stdout)["data"]["sites"]
        return sites

    def progress_of(self, site: str) -> Progress | None:
        """How far a hospital's last job is; None before its first."""
        file = self.site_file(site).progress_file
        return Progress.model_validate_json(file.read_bytes()) if file.exists() else None

    def processes_of(self, name: str) -> list[int]:
        """All processes that serve a kit, the job's own included."""
        mark = f"COLLEGIUM_SITE_FILES={self.kits[name].site_files_folder}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except (OSError, ValueError):
                continue
        return found


def _number(site: str) -> int:
    return int(site.removeprefix("hospital-"))


def policy_folder(world: LocalWorld, site: str) -> Path:
    """Where a hospital's policy lies."""
    return world.folder / "policies" / site


def write_policy(world: LocalWorld, site: str, **changes: Any) -> Path:
    """A hospital's policy on its own records; it permits all else unless changed."""
    folder = policy_folder(world, site)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    records = {"folder": str(world.hospital(_number(site))), "uses": ["train", "evaluate"]}
    file = folder / "policy.json"
    file.write_text(json.dumps(policy_fields(folder, site=site, data_sets=[records]) | changes))
    file.chmod(0o600)
    return file


def provision(
    world: LocalWorld,
    sites: tuple[str, ...] = SITES,
    threads: int = 1,
    server_host: str = "localhost",
) -> Federation:
    """Make all kits with ``collegium local provision``."""
    folder = world.folder / "federation"
    arguments = ["provision", "--folder", str(folder), "--network", NETWORK]
    for site in sites:
        arguments += ["--site", f"{site}={world.hospital(_number(site))}"]
        arguments += ["--policy", f"{site}={write_policy(world, site)}"]
    arguments += ["--server-host", server_host, "--server-port", str(free_port())]
    arguments += ["--model-cache", str(world.model_cache), "--threads", str(threads), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    kits = {name: Kit.at(folder / name) for name in ("server", *sites, "admin")}
    assert sorted(json.loads(done.stdout)["data"]["kits"].values()) == sorted(
        str(kit.folder) for kit in kits.values()
    )
    return Federation(world, kits, {}, sites)


def with_code(job: Path, marker: Path) -> Path:
    """The job, with code of its own for the sites that would write ``marker``."""
    custom = job / "site" / "custom"
    custom.mkdir()
    custom.joinpath("intruder.py").write_text(f"open({str(marker)!r}, 'w').write('was here')\n")
    config = job / "site" / "config" / "config_fed_client.json"
    fields = json.loads(config.read_text())
    fields["components"] = [{"id": "intruder", "path": "intruder.Intruder", "args": {}}]
    config.write_text(json.dumps(fields))
    return job


def allow_code_at_the_server(server: Kit) -> None:
    """Make the server let everything through, so that what stops a job are the sites."""
    file = server.folder / "local" / "authorization.json"
    fields = json.loads(file.read_text())
    fields["permissions"]["lead"]["byoc"] = "any"
    file.write_text(json.dumps(fields))
    resources = server.folder / "local" / "resources.json"
    allowed = json.loads(resources.read_text())
    allowed["class_allow_list"].append("*")
    resources.write_text(json.dumps(allowed))
