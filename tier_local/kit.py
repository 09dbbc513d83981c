"""A startup kit of NVFlare's as this package sets it up: what its holder is, may run, and keeps to himself.

A kit is a folder: ``startup`` (certificate, key, where the server is), ``local`` (what its holder allows)
and, at a site, ``sites/NAME.json`` (its ``SiteFile``). It stays with its holder, who made the key in it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import NameOID

from tier_local.errors import BadInput
from tier_local.exchange import SiteFile
from tier_local.files import make_output_folder, read_input, write_whole
from tier_local.job_folder import CONTROLLER_CLASS, EXECUTOR_CLASS

SITE_FILES_FOLDER = "sites"
RENEW_DAYS = 30
"""A certificate that ends sooner should be renewed."""

_ADMIN_ROLE = "lead"
"""The role of whoever submits jobs, here the network's node."""
_RIGHTS = {
    "submit_job": "any",
    "manage_job": "n:submitter",
    "download_job": "n:submitter",
    "view": "any",
    "clone_job": "none",
    "operate": "none",
    "shell_commands": "none",
    "byoc": "none",
    "server-predeployed-flwr": "none",
}
"""What the node may do: nobody may bring code, run commands, or stop a hospital's processes."""
_LOG_STREAMER = "site_log_streamer"
_LAUNCHER = "process_launcher"
_SCHEDULER_CLASS = "tier_local.scheduler.InnerJobScheduler"
_LOOK_AT_JOB_SECONDS = 0.5
"""How often the server's process of a job looks whether the job has ended; NVFlare's default is 3 seconds."""
_SERVER_PATIENCE_SECONDS = 5.0
"""How long the server waits for a site at each step of a job's start; a frozen one costs this much."""


class Role(StrEnum):
    """What a kit's holder is in the federation."""

    SERVER = "server"
    SITE = "site"
    ADMIN = "admin"


_STARTUP_FILE = {Role.SERVER: "fed_server.json", Role.SITE: "fed_client.json", Role.ADMIN: "fed_admin.json"}
_LAUNCHER_CLASS = {
    Role.SERVER: "tier_local.launchers.ServerJobLauncher",
    Role.SITE: "tier_local.launchers.SiteJobLauncher",
}
_CERTIFICATE = {Role.SERVER: "server", Role.SITE: "client", Role.ADMIN: "client"}


@dataclass(frozen=True)
class Certificate:
    """What matters of a certificate."""

    holder: str
    organization: str
    valid_until: datetime
    public_key: bytes

    @classmethod
    def read(cls, path: Path) -> "Certificate":
        """The certificate in the file at ``path``.

        Raises:
            BadInput: it cannot be read or is none.
        """
        try:
            found = x509.load_pem_x509_certificate(read_input(path, "the certificate"))
        except ValueError as error:
            raise BadInput(f"{path} is no certificate") from error

        def subject(part: x509.ObjectIdentifier) -> str:
            values = found.subject.get_attributes_for_oid(part)
            return str(values[0].value) if values else ""

        return cls(
            holder=subject(NameOID.COMMON_NAME),
            organization=subject(NameOID.ORGANIZATION_NAME),
            valid_until=found.not_valid_after_utc,
            public_key=_encoded(found.public_key()),
        )

    def matches(self, key_file: Path) -> bool:
        """Whether this is the certificate of the key in ``key_file``.

        Raises:
            BadInput: the key cannot be read or is none.
        """
        try:
            key = serialization.load_pem_private_key(read_input(key_file, "the key"), password=None)
        except ValueError as error:
            raise BadInput(f"{key_file} is no private key") from error
        return _encoded(key.public_key()) == self.public_key

    def days_left(self, now: datetime) -> int:
        """Whole days until it ends; negative when it has ended."""
        return (self.valid_until - now).days


@dataclass(frozen=True)
class Kit:
    """A startup kit in its place."""

    folder: Path
    role: Role
    name: str

    @classmethod
    def at(cls, folder: Path) -> "Kit":
        """The kit in ``folder``; its holder's name is the one in the certificate.

        Raises:
            BadInput: there is none, or its certificate is not readable.
        """
        role = next(
            (role for role, file in _STARTUP_FILE.items() if (folder / "startup" / file).is_file()), None
        )
        if role is None:
            raise BadInput(f"{folder} is no startup kit; 'collegium local provision' makes one")
        kit = cls(folder.resolve(), role, "")
        return replace(kit, name=kit.certificate().holder)

    def certificate(self) -> Certificate:
        """The holder's certificate.

        Raises:
            BadInput: it is missing or no certificate.
        """
        return Certificate.read(self.certificate_file)

    @property
    def certificate_file(self) -> Path:
        """The holder's certificate."""
        return self.folder / "startup" / f"{_CERTIFICATE[self.role]}.crt"

    @property
    def key_file(self) -> Path:
        """The holder's private key."""
        return self.folder / "startup" / f"{_CERTIFICATE[self.role]}.key"

    @property
    def root_certificate_file(self) -> Path:
        """The certificate of the network's own authority."""
        return self.folder / "startup" / "rootCA.pem"

    @property
    def site_files_folder(self) -> Path:
        """Where the site's own file lies."""
        return self.folder / SITE_FILES_FOLDER

    @property
    def startup_file_name(self) -> str:
        """NVFlare's description of the connection."""
        return _STARTUP_FILE[self.role]

    def server_address(self) -> tuple[str, int]:
        """Host and port of the federation's server.

        Raises:
            BadInput: the kit's startup file is not NVFlare's.
        """
        try:
            startup = json.loads((self.folder / "startup" / self.startup_file_name).read_bytes())
            if self.role is Role.ADMIN:
                return str(startup["admin"]["host"]), int(startup["admin"]["port"])
            host, _, port = startup["servers"][0]["service"]["target"].rpartition(":")
            return host, int(port)
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise BadInput(f"kit {self.folder}: {self.startup_file_name} does not name the server") from error

    def set_up(self) -> None:
        """Write what this kit's holder allows: no code of others, only the classes of this package."""
        _write_json(self.folder / "local" / "authorization.json", _AUTHORIZATION)
        if self.role is Role.SERVER:
            _write_json(self.folder / "local" / "resources.json", self._server_resources())
        elif self.role is Role.SITE:
            _write_json(self.folder / "local" / "resources.json", self._site_resources())

    def set_up_site(self, site: SiteFile) -> None:
        """Say where the hospital's things are."""
        make_output_folder(self.site_files_folder)
        site.write(self.site_files_folder / f"{site.site}.json")

    def _server_resources(self) -> Mapping[str, Any]:
        resources = self._default_resources()
        resources["class_allow_list"] = [CONTROLLER_CLASS]
        resources["servers"][0]["admin_timeout"] = _SERVER_PATIENCE_SECONDS
        resources["servers"][0]["check_engine_frequency"] = _LOOK_AT_JOB_SECONDS
        # NVFlare's defaults lie in the system's temporary folder, the same for all servers of a machine.
        resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(
            self.folder / "snapshots"
        )
        for component in resources["components"]:
            if component["id"] == "job_manager":
                component["args"]["uri_root"] = str(self.folder / "jobs")
            elif component["id"] == "job_scheduler":
                component["path"] = _SCHEDULER_CLASS
                component["args"]["min_schedule_interval"] = 1.0
            elif component["id"] == _LAUNCHER:
                component["path"] = _LAUNCHER_CLASS[Role.SERVER]
        return resources

    def _site_resources(self) -> Mapping[str, Any]:
        resources = self._default_resources()
        resources["class_allow_list"] = [EXECUTOR_CLASS]
        # A hospital's logs stay there: NVFlare would send its errors to the server as they come.
        resources["allow_log_streaming"] = False
        resources["components"] = [c for c in resources["components"] if c["id"] != _LOG_STREAMER]
        for component in resources["components"]:
            if component["id"] == _LAUNCHER:
                component["path"] = _LAUNCHER_CLASS[Role.SITE]
        return resources

    def _default_resources(self) -> dict[str, Any]:
        resources: dict[str, Any] = json.loads(
            (self.folder / "local" / "resources.json.default").read_bytes()
        )
        return resources


_AUTHORIZATION = {"format_version": "1.0", "permissions": {_ADMIN_ROLE: _RIGHTS}}


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write_json(path: Path, value: object) -> None:
    write_whole(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())
