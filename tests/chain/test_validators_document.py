"""The commands of docs/validators.md, run as they stand there, say what the document says."""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

from contracts.verify.chain_source import ChainSource
from tests.chain.story import Story

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "validators.md"
FOUNDRY = ROOT / "contracts" / "evm" / "node_modules" / ".bin"


def test_every_command_of_the_document_works(story: Story) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)
    at = story.stage.deployment
    environment = {
        **os.environ,
        "PATH": f"{FOUNDRY}:{os.environ['PATH']}",
        "ETH_RPC_URL": story.stage.anvil.rpc_url,
        "REGISTRY": at.registry,
        "TASKS": at.tasks,
        "ROUNDS": at.rounds,
        "LENS": at.lens,
        "FROM_BLOCK": str(at.block),
        "TASK": str(story.task),
        "ROUND": str(story.final),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr
    view = story.stage.view(story.task, story.final)
    assert view.aggregate_digest in done.stdout
    for sentence in (
        "the contracts name each other",
        f"the seed is the hash of block {view.seed_block}",
        "the draw follows from the seed",
        *(f"{voter} revealed what it had committed to" for voter in view.voters),
        "the context of Training binds the draw",
    ):
        assert sentence in done.stdout
    events = ChainSource(story.stage.anvil.rpc_url, at).task(story.task).events
    kinds = Counter(type(logged.event).__name__ for logged in events)
    counted = {name: int(count) for count, name in re.findall(r"^(\d+) (\w+)$", done.stdout, re.MULTILINE)}
    assert {name: count for name, count in counted.items() if count} == dict(kinds)
