"""What keeps a server's memory small: how its processes are started, and how they collect."""

import json
import subprocess
import sys
from pathlib import Path

from tests.unit.test_local_kit import make_kit
from tier_local.environment import OF_A_SERVER
from tier_local.exchange import SiteFile
from tier_local.kit import Role
from tier_local.participant import environment_of

_GARBAGE = """
import collections, gc, json, weakref
from tier_local.job_process import _collect_often

class Message:
    def __init__(self):
        self.future = [self]
        self.parts = [{} for _ in range(20)]

held = [{} for _ in range(200_000)]  # what is imported
OFTEN
most, alive = 0, set()
on_their_way = collections.deque(maxlen=100)
for _ in range(5_000):
    message = Message()
    on_their_way.append(message)
    alive.add(weakref.ref(message, alive.discard))
    most = max(most, len(alive))
print(json.dumps(most))
"""


def most_messages_that_stay(often: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _GARBAGE.replace("OFTEN", often)], capture_output=True, text=True, check=True
    )
    return int(json.loads(done.stdout))


def test_messages_that_refer_to_themselves_do_not_stay_for_long() -> None:
    """A hundred are on their way at any time, and so have outlived the first look of the collector."""
    assert most_messages_that_stay("_collect_often()") < 400 < 1_000 < most_messages_that_stay("")


def test_the_process_of_a_server_has_one_heap_and_that_of_a_site_does_not(tmp_path: Path) -> None:
    server, site = make_kit(tmp_path / "server", Role.SERVER), make_kit(tmp_path / "site", Role.SITE)
    site.site_files_folder.mkdir(parents=True, exist_ok=True)
    SiteFile(
        site=site.name,
        data_folder=tmp_path,
        model_cache=tmp_path,
        threads=2,
        progress_file=tmp_path / "progress",
        process_file=tmp_path / "process",
    ).write(site.site_files_folder / f"{site.name}.json")
    assert environment_of(server).items() >= OF_A_SERVER.items()
    assert not environment_of(site).keys() & OF_A_SERVER.keys()
