"""A read of the API against an empty FastAPI endpoint, both served by uvicorn with the same settings.

Read is a round by its number, with a token, as ``collegium serve`` answers it on SQLite: a final round of
four nodes with proposals, votes, attestations and rewards. Its answer is some kilobytes; the empty one is
``{}``, in an application without middleware, token or database. 64 clients keep their connections and ask
again as soon as they have an answer. Both are asked in turn, and the fastest slice of each counts.
"""

import sys
import tempfile
from pathlib import Path

from deploy.local.ports import free_ports
from tests.bench import _empty_app
from tests.bench._http_load import Load, ask_for_a_while
from tests.bench._hub import process, served_hub, wait_until_it_answers
from tests.bench._rows import Row
from tests.integration.orchestrator_double_rig import Rig

CLIENTS = 64
SLICES = 5
SLICE_S = 2.0
ROUND = "/v1/tasks/1/rounds/1"
# All clients are one principal here, and it is speed that is measured.
NO_LIMIT = "1000000/second"
LEAST_RATIO = 0.40
MOST_SPREAD = 5.0


def run() -> list[Row]:
    """The rows of ``api``."""
    with tempfile.TemporaryDirectory(prefix="collegium-bench-") as folder:
        return _measure(Path(folder))


def _measure(folder: Path) -> list[Row]:
    rig = Rig(folder)
    rig.start_task()
    rig.play_round()
    rig.close()
    port = free_ports(1)[0]
    empty = [sys.executable, _empty_app.__file__, str(port)]
    with served_hub(folder, COLLEGIUM_REQUEST_LIMIT=NO_LIMIT) as hub, process(empty, folder) as running:
        wait_until_it_answers(f"http://127.0.0.1:{port}/empty", running)
        ours, theirs = list[Load](), list[Load]()
        for _ in range(SLICES + 1):
            theirs.append(ask_for_a_while(port, "/empty", {}, CLIENTS, SLICE_S))
            ours.append(ask_for_a_while(hub.port, ROUND, hub.headers, CLIENTS, SLICE_S))
    # The first slice of each warms up.
    best = max(ours[1:], key=lambda load: load.per_s)
    yardstick = max(theirs[1:], key=lambda load: load.per_s)
    how = (
        f"{best.per_s:.0f} rounds a second, {yardstick.per_s:.0f} empty answers a second; "
        f"{CLIENTS} clients, fastest of {SLICES} slices of {SLICE_S:.0f} s"
    )
    spread = best.p99_s / best.median_s
    latency = f"p99 {1000 * best.p99_s:.1f} ms, median {1000 * best.median_s:.1f} ms in the same slice"
    return [
        Row.at_least("api.read.vs_empty", best.per_s / yardstick.per_s, "ratio", LEAST_RATIO, how),
        Row.at_most("api.read.p99_over_median", spread, "ratio", MOST_SPREAD, latency),
    ]
