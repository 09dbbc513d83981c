"""Provisioning of a network's federation, distributed: every participant makes its own key.

The network's coordinator holds the authority (``create_authority``). A participant makes a key and a request
(``request``), which the coordinator approves (``approve``); with the answer the participant makes its kit
(``install``). Only requests and answers travel. At both borders a fingerprint is compared that came by
another way, over the telephone say: the requester's key at the coordinator, the authority's certificate at
the participant.

All of it is NVFlare's own (``nvflare cert`` and ``nvflare package``), run as commands.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tier_local.errors import BadInput
from tier_local.files import make_output_folder
from tier_local.kit import Kit, Role
from tier_local.network import RESERVED_SITE_NAMES, SITE_NAME_PATTERN

CERTIFICATE_DAYS = 360
REQUEST_FOLDER = "request"
"""Where in a kit lies what its certificate was asked for with."""
ADMIN_NAME = "node@{}.local"
"""The node's name in a federation that is made on one machine."""
ANSWER_SUFFIX = ".signed.zip"
_ANSWER_FILE = "answer" + ANSWER_SUFFIX
AUTHORITY_DAYS = 3650

_PROFILE_FILE = "project_profile.yaml"
_AUTHORITY_FILE = "ca.json"
_ROOT_CERTIFICATE = "rootCA.pem"
_REQUEST_FILE = "request.json"
_KIND = {Role.SERVER: "server", Role.SITE: "client", Role.ADMIN: "admin"}
_ROLE = {"server": Role.SERVER, "site": Role.SITE, "user": Role.ADMIN}
_MOST_REQUEST_BYTES = 1 << 20
_AT_A_TIME = 4


@dataclass(frozen=True)
class Authority:
    """Who vouches for the participants of one network: a folder that only the coordinator has."""

    folder: Path
    fingerprint: str
    """SHA-256 of its certificate; participants compare it when they install their kits."""


class Request(BaseModel):
    """What a request says about who made it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    project: str
    name: str
    kind: str
    public_key_sha256: str

    @property
    def role(self) -> Role:
        """What the requester wants to be."""
        return _ROLE[self.kind]


def create_authority(folder: Path, network: str, server_host: str, server_port: int) -> Authority:
    """Make the authority of a network whose server will listen at this address.

    Raises:
        BadInput: there is one already, or NVFlare does not take a name or the address.
    """
    make_output_folder(folder)
    folder.chmod(0o700)
    profile = {
        "name": network,
        "scheme": "tcp",
        "connection_security": "mtls",
        "server": {"host": server_host, "fed_learn_port": server_port, "admin_port": server_port},
    }
    if (folder / _ROOT_CERTIFICATE).exists():
        raise BadInput(f"{folder} holds an authority already")
    (folder / _PROFILE_FILE).write_text(json.dumps(profile, indent=2) + "\n")
    made = _nvflare(
        folder,
        *("cert", "init", "--profile", str(folder / _PROFILE_FILE), "-o", str(folder)),
        *("--valid-days", str(AUTHORITY_DAYS)),
    )
    return Authority(folder, str(made["rootca_fingerprint_sha256"]))


def authority_fingerprint(authority: Path) -> str:
    """The fingerprint of the authority in this folder.

    Raises:
        BadInput: there is none.
    """
    try:
        return str(json.loads((authority / _AUTHORITY_FILE).read_bytes())["rootCA_fingerprint"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{authority} holds no authority; 'collegium local authority' makes one") from error


def request(folder: Path, network: str, name: str, role: Role, server_port: int | None = None) -> Path:
    """Make a key and a request in ``folder``; the key stays there. Returns the request's file.

    The server's name is the host name under which the sites reach it. A request that lies there already
    is made anew, with a new key: this is how a certificate is renewed.

    Raises:
        BadInput: one of the names is not taken.
    """
    if role is Role.SITE and (re.fullmatch(SITE_NAME_PATTERN, name) is None or name in RESERVED_SITE_NAMES):
        raise BadInput(f"a site cannot be named {name!r}: small letters, digits and '-', at most 40")
    make_output_folder(folder)
    folder.chmod(0o700)
    participant: dict[str, Any] = {"name": name, "org": network, "type": _KIND[role]}
    if role is Role.ADMIN:
        participant["role"] = "lead"
    if role is Role.SERVER:
        participant |= {"fed_learn_port": server_port, "admin_port": server_port}
    described = folder / "participant.yaml"
    described.write_text(json.dumps({"name": network, "participants": [participant]}) + "\n")
    made = _nvflare(
        folder, "cert", "request", "--participant", str(described), "--out", str(folder), "--force"
    )
    return Path(made["request_zip"])


def read_request(request_file: Path) -> Request:
    """What a request says.

    Raises:
        BadInput: it is none.
    """
    try:
        with zipfile.ZipFile(request_file) as archive, archive.open(_REQUEST_FILE) as file:
            return Request.model_validate_json(file.read(_MOST_REQUEST_BYTES))
    except (OSError, KeyError, zipfile.BadZipFile, ValidationError) as error:
        raise BadInput(f"{request_file} is no request of 'collegium local request'") from error


def approve(
    authority: Path, request_file: Path, key_fingerprint: str, answer_file: Path, days: int = CERTIFICATE_DAYS
) -> Path:
    """Sign the request whose key has the fingerprint that the requester told. Returns the answer's file.

    Raises:
        BadInput: the key is another one, or NVFlare refuses the request.
    """
    if not answer_file.name.endswith(ANSWER_SUFFIX):
        raise BadInput(f"{answer_file}: NVFlare wants the answer's name to end with {ANSWER_SUFFIX}")
    asked = read_request(request_file)
    if _normal(key_fingerprint) != _normal(asked.public_key_sha256):
        raise BadInput(
            f"the key in {request_file} has the fingerprint {asked.public_key_sha256}, "
            f"not {key_fingerprint}; ask the requester again"
        )
    _nvflare(
        authority,
        *("cert", "approve", str(request_file), "--ca-dir", str(authority), "--out", str(answer_file)),
        *("--profile", str(authority / _PROFILE_FILE), "--valid-days", str(days), "--force"),
    )
    return answer_file


def install(request_folder: Path, answer_file: Path, authority_fingerprint: str, kit_folder: Path) -> Kit:
    """Make the kit from the answer and the key that lies in ``request_folder``, or renew it.

    A kit that is there keeps all but its certificate and key.

    Raises:
        BadInput: the answer is by another authority, or not to this request.
    """
    make_output_folder(kit_folder.parent)
    with tempfile.TemporaryDirectory(prefix=".kit-", dir=kit_folder.parent) as scratch:
        made = _nvflare(
            request_folder,
            *("package", str(answer_file), "--request-dir", str(request_folder)),
            *("--workspace", scratch, "--fingerprint", authority_fingerprint),
        )
        packaged = Path(made["output_dir"])
        if (kit_folder / "startup").exists():
            _replace_credentials(packaged, kit_folder)
        else:
            kit_folder.mkdir(exist_ok=True)
            for part in packaged.iterdir():
                part.rename(kit_folder / part.name)
    kit = Kit.at(kit_folder)
    kit.key_file.chmod(0o600)
    kit.set_up()
    return kit


@dataclass(frozen=True)
class MadeHere:
    """All of a federation on one machine: its authority, and the kits by their holders' names."""

    authority: Authority
    kits: dict[str, Kit]


def make_all(folder: Path, network: str, host: str, port: int, sites: Sequence[str]) -> MadeHere:
    """Make the kits of a server, of sites and of a node, each as its holder would.

    Raises:
        BadInput: there is an authority already, or NVFlare does not take a name or the address.
    """
    authority = create_authority(folder / "authority", network, host, port)
    roles = {host: Role.SERVER, **dict.fromkeys(sites, Role.SITE), ADMIN_NAME.format(network): Role.ADMIN}
    places = {name: folder / (name if role is Role.SITE else role) for name, role in roles.items()}

    def ask(name: str) -> Path:
        return request(places[name] / REQUEST_FOLDER, network, name, roles[name], port)

    def install_answer(name: str) -> Kit:
        requested = places[name] / REQUEST_FOLDER
        return install(requested, requested / _ANSWER_FILE, authority.fingerprint, places[name])

    # Each step is a command of NVFlare's, most of which is its imports. One authority signs one by one.
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for name, asked in zip(roles, pool.map(ask, roles), strict=True):
            key = read_request(asked).public_key_sha256
            approve(authority.folder, asked, key, places[name] / REQUEST_FOLDER / _ANSWER_FILE)
        return MadeHere(authority, dict(zip(roles, pool.map(install_answer, roles), strict=True)))


def _replace_credentials(packaged: Path, kit_folder: Path) -> None:
    new, old = Kit.at(packaged), Kit.at(kit_folder)
    if new.role is not old.role:
        raise BadInput(f"{kit_folder} is the kit of a {old.role}, the answer is for a {new.role}")
    # The key first: a process that starts in between finds a pair that does not match, and says so.
    for source, target in ((new.key_file, old.key_file), (new.certificate_file, old.certificate_file)):
        beside = target.with_name(f".{target.name}.new")
        shutil.copy2(source, beside)
        beside.replace(target)


def _nvflare(home: Path, *arguments: str) -> dict[str, Any]:
    """Run an ``nvflare`` command; what it says it made. Its record of what was signed goes to ``home``."""
    done = subprocess.run(
        [sys.executable, "-m", "nvflare.cli", "--format", "json", *arguments],
        env=os.environ | {"HOME": str(home.resolve())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        said = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise BadInput(f"nvflare {arguments[0]} failed: {done.stderr.strip()[-300:]}") from error
    if done.returncode != 0 or said.get("status") != "ok":
        raise BadInput(f"nvflare {arguments[0]}: {said.get('message', 'refused')}")
    data: dict[str, Any] = said["data"]
    return data


def _normal(fingerprint: str) -> str:
    return fingerprint.lower().removeprefix("sha256:").replace(":", "")
