"""What must be true before a kit is served, each as a check with a name and a sentence.

``checks`` looks at everything, so that a person sees all that is missing at once; nothing here raises for
what it finds.
"""

import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tier_local.data import HELDOUT_FILE, TRAINING_FILE
from tier_local.errors import BadInput, Refused
from tier_local.exchange import SiteFile
from tier_local.kit import RENEW_DAYS, Kit, Role
from tier_local.participant import running_process
from tier_local.policy import read_policy, require_not_stopped

LEAST_FREE_BYTES = 2 << 30
_CONNECT_SECONDS = 5.0
_NVIDIA_FOLDER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Check:
    """One finding: ``detail`` says what was found, and what to do when it is not ok."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Needs:
    """What a kit's holder wants to have there."""

    free_bytes: int = LEAST_FREE_BYTES
    gpus: int = 0
    base_models: tuple[str, ...] = ()


def checks(kit: Kit, needs: Needs, now: datetime | None = None) -> tuple[Check, ...]:
    """All checks that concern a kit of this role."""
    return tuple(_checks(kit, needs, now or datetime.now(UTC)))


def certificate_check(kit: Kit, now: datetime) -> Check:
    """Whether the certificate fits its key and has not ended, and when it will."""
    return _guarded("certificate", lambda: _certificate(kit, now))


def _checks(kit: Kit, needs: Needs, now: datetime) -> Iterator[Check]:
    yield certificate_check(kit, now)
    yield _guarded("name", lambda: _name(kit))
    yield _guarded("port", lambda: _port(kit))
    yield _guarded("disk", lambda: _disk(kit, needs.free_bytes))
    if kit.role is Role.SITE:
        yield _guarded("policy", lambda: _policy(kit))
        yield _guarded("records", lambda: _records(kit))
        yield _guarded("model", lambda: _model(kit, needs.base_models))
        yield _guarded("gpu", lambda: _gpu(needs.gpus))


def _guarded(name: str, look: Callable[[], tuple[bool, str]]) -> Check:
    try:
        ok, detail = look()
    except Refused as error:
        return Check(name, False, error.detail)
    except (BadInput, OSError) as error:
        return Check(name, False, str(error))
    return Check(name, ok, detail)


def _certificate(kit: Kit, now: datetime) -> tuple[bool, str]:
    certificate = kit.certificate()
    until = certificate.valid_until.date().isoformat()
    days = certificate.days_left(now)
    if not certificate.matches(kit.key_file):
        return False, f"the certificate is not that of the key {kit.key_file}; run 'collegium local renew'"
    if days < 0:
        return False, f"the certificate ended on {until}; run 'collegium local renew'"
    if days < RENEW_DAYS:
        return True, f"valid until {until}, {days} days; run 'collegium local renew' before"
    return True, f"valid until {until}, {days} days"


def _name(kit: Kit) -> tuple[bool, str]:
    host, port = kit.server_address()
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return False, f"the server's name {host} is not known here: {error.strerror}"
    return True, f"{host} is {addresses[0][4][0]}"


def _port(kit: Kit) -> tuple[bool, str]:
    host, port = kit.server_address()
    if kit.role is not Role.SERVER:
        return _server_answers(kit, host, port)
    if (process := running_process(kit)) is not None:
        return True, f"port {port} is this server's own, process {process}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            return False, f"port {port} cannot be listened at: {error.strerror}"
    return True, f"port {port} is free"


def _server_answers(kit: Kit, host: str, port: int) -> tuple[bool, str]:
    """Connect as NVFlare does: TLS with both certificates, each signed by the network's authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(kit.root_certificate_file)
    try:
        context.load_cert_chain(kit.certificate_file, kit.key_file)
        with (
            socket.create_connection((host, port), _CONNECT_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True, f"the server answers at {host}:{port} and its certificate is the network's"
    except ssl.SSLError as error:
        return False, f"{host}:{port} answers, but TLS fails: {error.reason or error}"
    except OSError as error:
        return False, f"no server answers at {host}:{port}: {error.strerror or error}"


def _disk(kit: Kit, least_bytes: int) -> tuple[bool, str]:
    free_bytes = shutil.disk_usage(kit.folder).free
    found = f"{free_bytes >> 20} MiB are free at {kit.folder}"
    return free_bytes >= least_bytes, found if free_bytes >= least_bytes else (
        f"{found}, {least_bytes >> 20} MiB are needed"
    )


def _policy(kit: Kit) -> tuple[bool, str]:
    site = SiteFile.at(kit.site_files_folder, kit.name)
    if site.policy_file is None or site.state_folder is None:
        return (
            False,
            "this site was given no policy and refuses everything; run 'collegium local install' again",
        )
    policy = read_policy(site.policy_file)
    require_not_stopped(site.policy_file, policy)
    if policy.site != kit.name:
        return False, f"{site.policy_file} is the policy of {policy.site}"
    return True, f"{site.policy_file} is {kit.name}'s policy {policy.digest}"


def _records(kit: Kit) -> tuple[bool, str]:
    folder = SiteFile.at(kit.site_files_folder, kit.name).data_folder
    for name in (TRAINING_FILE, HELDOUT_FILE):
        if not os.access(folder / name, os.R_OK):
            return False, f"{folder / name} is missing or not readable"
    return True, f"{TRAINING_FILE} and {HELDOUT_FILE} are in {folder}"


def _model(kit: Kit, sources: tuple[str, ...]) -> tuple[bool, str]:
    cache = SiteFile.at(kit.site_files_folder, kit.name).model_cache
    missing = [source for source in sources if not (cache / source).is_dir()]
    if missing:
        return False, f"the base model {missing[0]} is not in {cache}"
    return True, f"{', '.join(sources) or 'no base model was asked for;'} in {cache}"


def _gpu(least: int) -> tuple[bool, str]:
    found = len(list(_NVIDIA_FOLDER.iterdir())) if _NVIDIA_FOLDER.is_dir() else 0
    return found >= least, f"{found} GPUs, {least} are needed"
