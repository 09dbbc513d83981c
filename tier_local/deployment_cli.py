"""``collegium local …``: a network makes its federation, and runs, watches and renews the parts of it.

A hospital's commands about its policy and its egress log are ``policy_cli``'s.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tier_local.errors import BadInput, ExitCode, InnerRoundError
from tier_local.output import JsonOption, fail, finish
from tier_local.policy_cli import egress_app, policy_app

if TYPE_CHECKING:
    from tier_local.kit import Kit
    from tier_local.preflight import Check

app = typer.Typer(
    help="A network's NVFlare federation: make it, run it, look at it; a hospital's policy and what left it.",
    add_completion=False,
    no_args_is_help=True,
)
app.add_typer(policy_app, name="policy")
app.add_typer(egress_app, name="egress")

KitArgument = Annotated[Path, typer.Argument(help="The folder of the startup kit.")]
NetworkOption = Annotated[str, typer.Option(help="The network's name.")]
HostOption = Annotated[str, typer.Option(help="The host name under which the sites reach the server.")]
PortOption = Annotated[int, typer.Option(min=1, max=65535, help="The server's port.")]
DataOption = Annotated[Path | None, typer.Option(help="A site's folder with train.jsonl and heldout.jsonl.")]
CacheOption = Annotated[Path | None, typer.Option(help="A site's folder of base models.")]
ThreadsOption = Annotated[int, typer.Option(min=1, max=256, help="Threads that a site computes with.")]
PolicyOption = Annotated[
    Path | None, typer.Option(help="A site's policy; without one it refuses everything.")
]
StateOption = Annotated[Path | None, typer.Option(help="Where a site keeps its egress log.")]

_STATE_FOLDER = "state"
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1


@app.command()
def authority(
    folder: Annotated[Path, typer.Option(help="Where the authority goes; only its keeper may read it.")],
    network: NetworkOption,
    server_host: HostOption,
    server_port: PortOption,
    as_json: JsonOption = False,
) -> None:
    """Make the network's authority, which vouches for its participants."""
    from tier_local.provision import create_authority

    with _errors(as_json):
        made = create_authority(folder, network, server_host, server_port)
    finish(
        {"folder": str(made.folder), "fingerprint": made.fingerprint},
        f"the authority is in {folder}; tell every participant its fingerprint:\n{made.fingerprint}",
        as_json,
    )


@app.command()
def request(
    kit: Annotated[Path, typer.Option(help="Where this participant's kit shall be.")],
    network: NetworkOption,
    name: Annotated[str, typer.Option(help="The site's name; of a server its host; of an admin NAME@HOST.")],
    role: Annotated[str, typer.Option(help="server, site or admin")],
    server_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of a server: its port.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key, which stays here, and a request for the network's authority. Again: a new key."""
    from tier_local import provision
    from tier_local.kit import Role

    with _errors(as_json):
        if role not in list(Role):
            raise BadInput(f"--role {role}: one of {', '.join(Role)}")
        file = provision.request(kit / provision.REQUEST_FOLDER, network, name, Role(role), server_port)
        fingerprint = provision.read_request(file).public_key_sha256
    finish(
        {"request": str(file), "fingerprint": fingerprint},
        f"send {file} to the authority, and tell it the fingerprint of your key another way:\n{fingerprint}",
        as_json,
    )


@app.command()
def approve(
    request_file: Annotated[Path, typer.Argument(help="What the participant sent.")],
    authority: Annotated[Path, typer.Option(help="The authority's folder.")],
    fingerprint: Annotated[str, typer.Option(help="Of the key, as the participant told it another way.")],
    out: Annotated[Path, typer.Option(help="The answer, NAME.signed.zip, to send back.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the certificate is valid.")] = 360,
    as_json: JsonOption = False,
) -> None:
    """Vouch for a participant whose key has the fingerprint that it told."""
    from tier_local import provision

    with _errors(as_json):
        file = provision.approve(authority, request_file, fingerprint, out, days)
    finish({"answer": str(file)}, f"send {file} back; there is no secret in it", as_json)


@app.command()
def install(
    answer: Annotated[Path, typer.Argument(help="What the authority sent back.")],
    kit: Annotated[Path, typer.Option(help="The participant's folder, where the request was made.")],
    fingerprint: Annotated[str, typer.Option(help="Of the authority, as it told it another way.")],
    data_folder: DataOption = None,
    model_cache: CacheOption = None,
    policy_file: PolicyOption = None,
    state_folder: StateOption = None,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Make the startup kit, or renew the certificate of the one that is there."""
    from tier_local import provision

    with _errors(as_json):
        places = _all_or_none(data_folder, model_cache, policy_file, state_folder)
        made = provision.install(kit / provision.REQUEST_FOLDER, answer, fingerprint, kit)
        if places is not None:
            _set_up_site(made, places, threads)
    finish(
        {"kit": str(made.folder), "role": made.role, "name": made.name},
        f"{made.folder} is the kit of the {made.role} {made.name}",
        as_json,
    )


@app.command()
def provision(
    folder: Annotated[Path, typer.Option(help="Where the authority and the kits go.")],
    network: NetworkOption,
    site: Annotated[list[str], typer.Option(help="NAME=DATA_FOLDER, once for every site.")],
    policy: Annotated[list[str], typer.Option(help="NAME=POLICY_FILE, once for every site.")],
    model_cache: Annotated[Path, typer.Option(help="The sites' folder of base models.")],
    server_port: PortOption,
    server_host: HostOption = "localhost",
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Make all of a federation on this machine: for a trial, or to carry the kits to their places."""
    from tier_local.provision import make_all

    with _errors(as_json):
        data_folders = dict(_named_path("--site", entry) for entry in site)
        policy_files = dict(_named_path("--policy", entry) for entry in policy)
        if differing := sorted(data_folders.keys() ^ policy_files.keys()):
            raise BadInput(f"{differing[0]}: every site has a --site and a --policy")
        made = make_all(folder, network, server_host, server_port, tuple(data_folders))
        for name, data_folder in data_folders.items():
            kit = made.kits[name]
            places = _Places(data_folder, model_cache, policy_files[name], kit.folder / _STATE_FOLDER)
            _set_up_site(kit, places, threads)
    kits = {name: str(kit.folder) for name, kit in made.kits.items()}
    fingerprint = made.authority.fingerprint
    lines = [f"authority {fingerprint}", *(f"{name}: {place}" for name, place in kits.items())]
    finish({"authority": fingerprint, "kits": kits}, "\n".join(lines), as_json)


@app.command()
def renew(
    kit: KitArgument,
    authority: Annotated[Path, typer.Option(help="The authority's folder.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the certificate is valid.")] = 360,
    as_json: JsonOption = False,
) -> None:
    """Give a kit a new key and certificate; what serves it takes them when it is started again."""
    from tier_local import provision
    from tier_local.kit import Kit

    with _errors(as_json):
        old = Kit.at(kit)
        network = old.certificate().organization
        folder = kit / provision.REQUEST_FOLDER
        port = old.server_address()[1]
        file = provision.request(folder, network, old.name, old.role, port)
        key = provision.read_request(file).public_key_sha256
        answer = provision.approve(authority, file, key, folder / "answer.signed.zip", days)
        renewed = provision.install(folder, answer, provision.authority_fingerprint(authority), kit)
        until = renewed.certificate().valid_until.isoformat()
    finish(
        {"name": renewed.name, "valid_until": until},
        f"the certificate of {renewed.name} is valid until {until}; start what serves {kit} again",
        as_json,
    )


@app.command()
def start(
    kit: KitArgument,
    daemon: Annotated[bool, typer.Option(help="Come back when it runs, instead of running here.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the kit's server or site, here until SIGTERM or Ctrl-C, or as a daemon."""
    from tier_local.kit import Kit
    from tier_local.participant import LOG_FILE, running_process, serve

    with _errors(as_json):
        found = Kit.at(kit)
        if not daemon:
            serve(found)
            return
        if (process := running_process(found)) is not None:
            raise BadInput(f"the kit {kit} runs already, as process {process}")
        with (found.folder / LOG_FILE).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(found.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _wait(lambda: running_process(found) is not None or child.poll() is not None, _START_SECONDS)
        if running_process(found) is None:
            raise BadInput(f"the kit {kit} did not start; the log is {found.folder / LOG_FILE}")
    finish({"name": found.name, "process": child.pid}, f"{found.name} runs as process {child.pid}", as_json)


@app.command()
def stop(kit: KitArgument, as_json: JsonOption = False) -> None:
    """End what serves the kit, and all that it started."""
    from tier_local.kit import Kit
    from tier_local.participant import running_process

    with _errors(as_json):
        found = Kit.at(kit)
        if (process := running_process(found)) is None:
            finish({"name": found.name, "stopped": False}, f"{found.name} does not run", as_json)
            return
        os.kill(process, signal.SIGTERM)
        _wait(lambda: running_process(found) is None, _STOP_SECONDS)
        if running_process(found) is not None:
            raise InnerRoundError(f"process {process} did not end within {_STOP_SECONDS:.0f} s")
    finish({"name": found.name, "stopped": True}, f"{found.name} is stopped", as_json)


@app.command()
def status(kit: KitArgument, as_json: JsonOption = False) -> None:
    """Show whether the kit is served, of an admin's who is connected, and when the certificate ends."""
    from tier_local.admin_session import connected_sites
    from tier_local.kit import Kit, Role
    from tier_local.participant import running_process

    with _errors(as_json):
        found = Kit.at(kit)
        until = found.certificate().valid_until.isoformat()
        host, port = found.server_address()
        shown: dict[str, object]
        if found.role is Role.ADMIN:
            sites = connected_sites(found)
            shown, state = {"sites": sites}, f"sees {', '.join(sites) or 'no site'} connected"
        else:
            process = running_process(found)
            shown = {"process": process}
            state = "does not run" if process is None else f"runs as process {process}"
    finish(
        {
            "name": found.name,
            "role": found.role,
            **shown,
            "server": f"{host}:{port}",
            "certificate_valid_until": until,
        },
        f"{found.role} {found.name} {state}; server {host}:{port}; certificate valid until {until}",
        as_json,
    )


@app.command()
def preflight(
    kit: KitArgument,
    model: Annotated[list[str] | None, typer.Option(help="A base model that must be there.")] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs that must be there.")] = 0,
    free_mib: Annotated[int, typer.Option(min=0, help="Free disk that must be there.")] = 2048,
    as_json: JsonOption = False,
) -> None:
    """Say what is missing for the kit to be served: certificate, name, port, disk, records, model, GPU."""
    from tier_local.kit import Kit
    from tier_local.preflight import Needs, checks

    with _errors(as_json):
        found = checks(Kit.at(kit), Needs(free_mib << 20, gpus, tuple(model or ())))
    _show(found, {}, (), as_json)


@app.command()
def doctor(kit: KitArgument, as_json: JsonOption = False) -> None:
    """Look for what is wrong with a kit that should be served: preflight, its process, its last errors."""
    from tier_local.kit import Kit
    from tier_local.participant import running_process
    from tier_local.preflight import Check, Needs, checks

    with _errors(as_json):
        held = Kit.at(kit)
        process = running_process(held)
        found = checks(held, Needs())
    if held.role != "admin":
        says = (
            "nobody serves this kit; run 'collegium local start'" if process is None else f"process {process}"
        )
        found = (*found, Check("process", process is not None, says))
    errors = _last_lines(held.folder / "error_log.txt")
    _show(found, {"last_errors": errors}, [f"last error: {line}" for line in errors], as_json)


_SERVE = """
import sys
from pathlib import Path
from tier_local.errors import InnerRoundError
from tier_local.kit import Kit
from tier_local.participant import serve
try:
    serve(Kit.at(Path(sys.argv[1])))
except InnerRoundError as error:
    sys.exit(str(error))
"""
_LAST_LINES = 5
_MOST_LOG_BYTES = 1 << 16


def _show(
    found: "tuple[Check, ...]", more: Mapping[str, object], lines: "list[str] | tuple[()]", as_json: bool
) -> None:
    ok = all(check.ok for check in found)
    rows = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in found]
    text = [f"{'ok     ' if check.ok else 'MISSING'} {check.name}: {check.detail}" for check in found]
    if as_json:
        typer.echo(json.dumps({"ok": ok, "data": {"checks": rows, **more}}))
    else:
        typer.echo("\n".join([*text, *lines]))
    if not ok:
        raise typer.Exit(ExitCode.FAILED)


def _last_lines(file: Path) -> list[str]:
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - _MOST_LOG_BYTES))
            return log.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
    except OSError:
        return []


def _named_path(option: str, entry: str) -> tuple[str, Path]:
    name, separator, path = entry.partition("=")
    if not separator or not path:
        raise BadInput(f"{option} {entry}: NAME=PATH is needed")
    return name, Path(path)


@dataclass(frozen=True)
class _Places:
    """Where a hospital's own things are."""

    data_folder: Path
    model_cache: Path
    policy_file: Path
    state_folder: Path


def _all_or_none(
    data_folder: Path | None, model_cache: Path | None, policy_file: Path | None, state_folder: Path | None
) -> _Places | None:
    """A site's places; None where nothing is said of them, as when a certificate is renewed."""
    if data_folder is None or model_cache is None or policy_file is None or state_folder is None:
        if (data_folder, model_cache, policy_file, state_folder) == (None, None, None, None):
            return None
        raise BadInput("a site needs --data-folder, --model-cache, --policy-file and --state-folder together")
    return _Places(data_folder, model_cache, policy_file, state_folder)


def _set_up_site(kit: "Kit", places: _Places, threads: int) -> None:
    from tier_local.exchange import SiteFile

    kit.set_up_site(
        SiteFile(
            site=kit.name,
            data_folder=places.data_folder.resolve(),
            model_cache=places.model_cache.resolve(),
            threads=threads,
            progress_file=kit.folder / "progress.json",
            process_file=kit.folder / "process",
            recipient=f"the server of {kit.certificate().organization}",
            # Not resolved: a link in the policy's place is to be seen, and refused, by who reads it.
            policy_file=places.policy_file.absolute(),
            state_folder=places.state_folder.absolute(),
        )
    )


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


@contextmanager
def _errors(as_json: bool) -> Iterator[None]:
    """Errors of the inner tier become a sentence or an envelope, and their exit code."""
    try:
        yield
    except InnerRoundError as error:
        fail(error.exit_code, str(error), as_json)
