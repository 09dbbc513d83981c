"""From starting ``collegium serve`` to its first answer, where torch and flwr cannot be imported.

The first start leaves Python's compiled files for the others. Counted is the least of some starts, from
the creation of the process to the answer of /readyz; beside it stands ``import orchestrator.app`` alone.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from deploy.local.ports import free_ports
from tests.bench._hub import process, wait_until_it_answers
from tests.bench._rows import Row
from tests.integration.orchestrator_double_rig import DEPLOYMENT, Rig

STARTS = 5
MOST_S = 2.0
WITHOUT = "import sys; sys.modules.update(torch=None, flwr=None); "
SERVE = WITHOUT + "sys.argv = ['collegium', 'serve']; from orchestrator.cli import main; main()"
IMPORT = WITHOUT + "import orchestrator.app"
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""As Python is where nobody says otherwise: what is compiled once is kept."""


def run() -> list[Row]:
    """The rows of ``start``."""
    with tempfile.TemporaryDirectory(prefix="collegium-bench-") as folder:
        rig = Rig(Path(folder))
        rig.chain.mine()
        rig.worker.run_once()
        rig.close()
        ready_s = min(_start(Path(folder)) for _ in range(STARTS))
        import_s, processor_s = min(_import(Path(folder)) for _ in range(STARTS))
    how = (
        f"least of {STARTS} starts to /readyz without torch and flwr; "
        f"the import alone {import_s:.2f} s (processor {processor_s:.2f} s)"
    )
    return [Row.at_most("start.ready_s", ready_s, "s", MOST_S, how)]


def _start(folder: Path) -> float:
    (folder / "deployment.json").write_bytes(DEPLOYMENT.to_json())
    port = free_ports(1)[0]
    environment = {
        "COLLEGIUM_MODE": "development",
        "COLLEGIUM_DATABASE_URL": f"sqlite:///{folder}/hub.sqlite3",
        "COLLEGIUM_ARTIFACT_FOLDER": str(folder / "artifacts"),
        "COLLEGIUM_DEPLOYMENT_FILE": str(folder / "deployment.json"),
        "COLLEGIUM_PORT": str(port),
        **COMPILED,
    }
    began_s = time.perf_counter()
    with process([sys.executable, "-c", SERVE], folder, environment) as running:
        wait_until_it_answers(f"http://127.0.0.1:{port}/readyz", running)
        return time.perf_counter() - began_s


def _import(folder: Path) -> tuple[float, float]:
    """Wall time, and the processor's: on a machine with other work on it, that tells a disturbance."""
    began_s, processor_s = time.perf_counter(), _of_children_s()
    with process([sys.executable, "-c", IMPORT], folder, COMPILED) as running:
        if running.wait(60) != 0:
            raise RuntimeError("orchestrator.app cannot be imported without torch and flwr")
        return time.perf_counter() - began_s, _of_children_s() - processor_s


def _of_children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
