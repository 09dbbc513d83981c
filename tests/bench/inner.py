"""An inner round in a running deployment: what it costs beside the training, and what a dead site costs.

Three federations are provisioned and started one after the other, as ``collegium local`` does it: real server
and site processes over TLS on this machine. Every round is asked for as a node does, with
``python -m tier_local train``.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.digests import sha256_digest
from contracts.manifest import FloatArray, Manifest
from deploy.local import icd10
from tests.bench import _adapters
from tests.bench._inner_watch import MemoryWatch, RoundWatch
from tests.bench._rows import Row
from tests.integration.federation import Federation, provision
from tests.integration.local_world import (
    REPOSITORY,
    LocalWorld,
    make_world,
    start,
    write_records,
)
from tests.integration.local_world import run as run_command
from tier_local.participant import running_process

MOST_OVERHEAD_S = 15.0
MOST_MODEL_LOAD_S = 2.0
MOST_ADAPTERS = 3.0
MOST_OVER_DEADLINE_S = 5.0

ROUNDS = 3
MEMORY_SITES = 16
FROZEN_OF = 4
ANSWER_SECONDS = 30.0
MODEL_CACHE = Path("var/models")
_NETWORKS = ("aurora", "boreas", "cygnus", "draco")
_READY_S = 180.0
_ADAPTER_BYTES = 2 * _adapters.PAIRS * _adapters.RANK * _adapters.WIDTH * 4


def run() -> list[Row]:
    """The rows of ``inner``."""
    rows: list[Row] = []
    for measure in (_overhead, _frozen_site, _server_memory):
        with tempfile.TemporaryDirectory(prefix="collegium-bench-") as folder:
            rows += measure(Path(folder))
    return rows


# --- overhead ----------------------------------------------------------------------------------------


def _overhead(folder: Path) -> list[Row]:
    """Rounds of the demo's task at two hospitals of one network, and the same steps in one process."""
    world = _demo_world(folder)
    bare = [_bare(world) for _ in range(ROUNDS)]
    with _running(world, ("hospital-1", "hospital-2")) as federation:
        # The first round leaves what later ones find: compiled files, the server's page cache.
        rounds = [_watched_round(federation, f"overhead-{number}") for number in range(ROUNDS + 1)][1:]
    steps_s = min(sum(each["steps_s"]) for each in bare)
    model_s = min(each["model_s"] for each in bare)
    least = min(rounds, key=lambda each: each.wall_s)
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in least.parts_s.items())
    said = ", ".join(f"{each.wall_s:.1f}" for each in rounds)
    how = (
        f"least of {ROUNDS} rounds of the demo's task (SmolLM2-135M, 14 steps of 16 records) at two deployed "
        f"sites of one thread each, {least.wall_s:.1f} s, less the lesser of these 28 steps in one process "
        f"with two threads, {steps_s:.1f} s (least of {ROUNDS}), and of the steps of that round's slowest "
        f"site, {least.steps_s:.1f} s; all rounds {said} s; of the least, in s: {parts}"
    )
    return [
        Row.at_most(
            "inner.overhead_s", least.wall_s - min(steps_s, least.steps_s), "s", MOST_OVERHEAD_S, how
        ),
        Row.at_most(
            "inner.model_load_s",
            model_s,
            "s",
            MOST_MODEL_LOAD_S,
            f"SmolLM2-135M from the cache, with tokenizer and adapter, ready to train, least of {ROUNDS} new "
            f"processes; the imports before it {min(each['imports_s'] for each in bare):.1f} s",
        ),
    ]


def _demo_world(folder: Path) -> LocalWorld:
    """The demo's first network: its task, its model, its hospitals' records."""
    MODEL_CACHE.mkdir(parents=True, exist_ok=True)
    world = LocalWorld(folder)
    world.model_cache.symlink_to(MODEL_CACHE.resolve())
    icd10.build(1, folder / "dealt", _NETWORKS, hospitals_per_network=2)
    shutil.copytree(folder / "dealt" / _NETWORKS[0], folder / "data")
    task = Path(icd10.__file__).with_name("icd10_task.json")
    done = run_command(
        *("genesis", "--draft", str(task), "--model-cache", str(world.model_cache)),
        *("--out", str(world.spec_file.parent)),
    )
    _require(done.returncode == 0, done.stderr)
    return world


def _bare(world: LocalWorld) -> dict[str, float | list[float]]:
    files = [str(world.spec_file), str(world.genesis_file), str(world.model_cache), "2"]
    folders = [str(world.hospital(number)) for number in (1, 2)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench._bare_steps", *files, *folders],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    _require(done.returncode == 0, done.stderr)
    found: dict[str, float | list[float]] = json.loads(done.stdout)
    return found


@dataclass(frozen=True)
class _Round:
    """One watched round."""

    wall_s: float
    steps_s: float
    """All steps of the site that was slowest."""
    parts_s: dict[str, float]


def _watched_round(federation: Federation, purpose: str) -> _Round:
    with RoundWatch(federation) as watch:
        command = _ask(federation, purpose, federation.network_file("network.json"))
        _require(command.wait() == 0, command)
        watch.ended()
    steps = federation.world.spec.training.steps
    # Seen from outside are all but the first.
    return _Round(watch.wall_s, watch.steps_s * steps / (steps - 1), watch.parts_s())


# --- a site that is frozen, or gone ------------------------------------------------------------------


def _frozen_site(folder: Path) -> list[Row]:
    """Rounds in which one of four sites is frozen at work, frozen before, killed; then all are back."""
    world = make_world(folder)
    _deal_to_all(world, FROZEN_OF)
    sites = tuple(f"hospital-{number}" for number in range(1, FROZEN_OF + 1))
    frozen, killed = sites[2], sites[3]
    over_s: dict[str, float] = {}
    with _running(world, sites) as federation:
        network = federation.network_file(
            "patient.json", least_sites=FROZEN_OF - 1, answer_seconds=ANSWER_SECONDS
        )

        def measure(what: str, site: str, act: Callable[[], object] | None) -> None:
            process_file = federation.site_file(site).process_file
            process_file.unlink(missing_ok=True)
            began_s = time.monotonic()
            command = _ask(federation, what.replace(" ", "-"), network)
            if act is not None:
                _wait_for(process_file.exists, f"{site} works")
                act()
            _require(command.wait() == 0, command)
            over_s[what] = time.monotonic() - began_s - ANSWER_SECONDS
            _require(_left_out(federation, what) == {site: "no answer"}, f"{site} is the one left out")

        measure("frozen at work", frozen, lambda: federation.freeze(frozen))
        measure("frozen before", frozen, None)
        federation.freeze(frozen, signal.SIGCONT)
        measure("machine gone at work", killed, lambda: federation.freeze(killed, signal.SIGKILL))
        federation.processes.pop(killed).wait()
        federation.start(killed)
        _wait_for(lambda: federation.times_let_in(killed) > 1, f"{killed} is back")
        again = _ask(federation, "all-are-back", federation.network_file("all.json"))
        _require(again.wait() == 0, again)
    said = ", ".join(f"{what} {seconds:+.1f} s" for what, seconds in over_s.items())
    how = (
        f"one of {FROZEN_OF} deployed sites; {FROZEN_OF - 1} must answer within {ANSWER_SECONDS:.0f} s of "
        f"the asking; end of the node's command less that time: {said}; its report names the site; once the "
        "site is back, a round has all"
    )
    return [
        Row.at_most("inner.frozen_site_over_deadline_s", max(over_s.values()), "s", MOST_OVER_DEADLINE_S, how)
    ]


def _left_out(federation: Federation, what: str) -> dict[str, str]:
    report = json.loads((_out(federation, what.replace(" ", "-")) / "report.json").read_bytes())
    found: dict[str, str] = report["sites_left_out"]
    return found


# --- memory ------------------------------------------------------------------------------------------


def _server_memory(folder: Path) -> list[Row]:
    """The server's peak while it aggregates 16 large adapters, above that with tiny ones."""
    world = make_world(folder)
    _deal_to_all(world, MEMORY_SITES)
    sites = tuple(f"hospital-{number}" for number in range(1, MEMORY_SITES + 1))
    with _running(world, sites, prepared=True) as federation:
        peaks: dict[str, MemoryWatch] = {}
        tiny = {"layer.lora_A.weight": _adapters.adapter(0)["layer_00.lora_A.weight"][:, :16].copy()}
        # The first round is for what the server loads once and keeps.
        for name, adapter in (("first", tiny), ("tiny", tiny), ("large", _adapters.adapter(0))):
            _set_adapter(world, adapter)
            with MemoryWatch(federation) as peaks[name]:
                command = _ask(federation, name, federation.network_file("network.json"))
                _require(command.wait() == 0, command)
    large, low = peaks["large"], peaks["tiny"]
    adapters = (large.peak_while_aggregating_bytes - low.peak_while_aggregating_bytes) / _ADAPTER_BYTES
    at_any_time = (large.peak_bytes - low.peak_bytes) / _ADAPTER_BYTES
    how = (
        "peak of the resident memory of all the server's processes from the asking of the sites to the end "
        f"of the fold ({large.peak_while_aggregating_bytes / 1e6:.0f} MB), less that with adapters of 1 kB "
        f"({low.peak_while_aggregating_bytes / 1e6:.0f} MB), in adapters of {_ADAPTER_BYTES / 1e6:.1f} MB; "
        f"over the whole round, with the job's submission and its result packed up, {at_any_time:.1f}; "
        f"{MEMORY_SITES} deployed sites over TLS answer at the same moment with prepared adapters, without a "
        "model; these go the real way through NVFlare, controller and disk"
    )
    return [Row.at_most("inner.server_memory_adapters", adapters, "", MOST_ADAPTERS, how)]


def _set_adapter(world: LocalWorld, adapter: dict[str, FloatArray]) -> None:
    """Make it the task's first."""
    manifest = Manifest.of(adapter)
    data = manifest.encode(adapter)
    world.genesis_file.write_bytes(data)
    fields = json.loads(world.spec_file.read_bytes())
    fields |= {"manifest": manifest.model_dump(mode="json"), "genesis_digest": sha256_digest(data)}
    world.spec_file.write_text(json.dumps(fields))


# --- what they share ---------------------------------------------------------------------------------


@contextmanager
def _running(world: LocalWorld, sites: tuple[str, ...], *, prepared: bool = False) -> Iterator[Federation]:
    """The federation of these sites, all of them in; ``prepared`` ones answer without a model."""
    federation = provision(world, sites)
    if prepared:
        for site in sites:
            resources = federation.kits[site].folder / "local" / "resources.json"
            fields = json.loads(resources.read_bytes())
            for component in fields["components"]:
                if component["id"] == "process_launcher":
                    component["path"] = "tests.bench._prepared_site.Launcher"
            resources.write_text(json.dumps(fields))
    try:
        for name in ("server", *sites):
            federation.start(name)
        _wait_for(lambda: running_process(federation.kits["server"]) is not None, "the server runs")
        _wait_for(federation.all_sites_are_in, "all sites are in")
        yield federation
    finally:
        for site in federation.processes:
            federation.freeze(site, signal.SIGCONT)
        federation.stop()


def _deal_to_all(world: LocalWorld, sites: int) -> None:
    """Records for more hospitals than the two that there are."""
    draw = random.Random(6)
    for number in range(3, sites + 1):
        write_records(world.hospital(number) / "train.jsonl", 24, draw)
        write_records(world.hospital(number) / "heldout.jsonl", 8, draw)


def _ask(federation: Federation, purpose: str, network_file: Path) -> "subprocess.Popen[str]":
    """Ask for a training round, as a node does."""
    arguments = federation.world.job("train", _out(federation, purpose), "--purpose", purpose)
    arguments[arguments.index("--network") + 1] = str(network_file)
    return start(arguments)


def _out(federation: Federation, purpose: str) -> Path:
    return federation.world.folder / "out" / purpose


def _wait_for(holds: Callable[[], object], what: str) -> None:
    give_up_s = time.monotonic() + _READY_S
    while not holds():
        _require(time.monotonic() < give_up_s, f"not within {_READY_S:.0f} s: {what}")
        time.sleep(0.02)


def _require(holds: bool, what: "str | subprocess.Popen[str]") -> None:
    """A benchmark whose case is broken measures nothing."""
    if not holds:
        raise RuntimeError(
            what if isinstance(what, str) else (what.stderr and what.stderr.read()) or "it failed"
        )
