"""Where a local run keeps everything: one folder, one sub-folder or file per subject."""

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The paths below the folder of one run."""

    folder: Path

    @property
    def marker(self) -> Path:
        """Says that this folder is a run's, and may be removed for the next one."""
        return self.folder / ".collegium-run"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens"

    @property
    def chain_state(self) -> Path:
        return self.folder / "chain" / "state.json"

    @property
    def chain_history(self) -> Path:
        """Old states that Anvil has no room for; of no use to the next Anvil."""
        return self.folder / "chain" / "history"

    @property
    def deployment(self) -> Path:
        return self.folder / "chain" / "deployment.json"

    @property
    def database(self) -> Path:
        return self.folder / "orchestrator" / "collegium.sqlite3"

    @property
    def artifacts(self) -> Path:
        return self.folder / "orchestrator" / "artifacts"

    @property
    def flower(self) -> Path:
        return self.folder / "flower"

    @property
    def conductor_journal(self) -> Path:
        return self.folder / "flower" / "journal.jsonl"

    @property
    def superlink_tls(self) -> Path:
        return self.flower / "tls"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def test_records(self) -> Path:
        return self.data / "test.jsonl"

    @property
    def task(self) -> Path:
        return self.folder / "task"

    @property
    def spec(self) -> Path:
        return self.task / "task.json"

    @property
    def genesis(self) -> Path:
        return self.task / "adapter.safetensors"

    @property
    def evaluations(self) -> Path:
        return self.folder / "evaluations"

    @property
    def baselines(self) -> Path:
        return self.folder / "baselines"

    @property
    def result(self) -> Path:
        return self.folder / "adapter"

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    def network(self, name: str) -> Path:
        """The folder of one network: its own files, which the hub never opens."""
        return self.folder / "networks" / name

    def federation(self, name: str) -> Path:
        """Where the startup kits of a network's participants lie, when its federation is deployed."""
        return self.network(name) / "federation"

    def invite(self, name: str) -> Path:
        """What the council lets the network in with."""
        return self.network(name) / "invite"

    def signer_socket(self, name: str) -> Path:
        """Where the process that holds the node's key is asked for signatures."""
        return self.network(name) / "signer" / "socket"

    def make(self) -> None:
        """Make the folders; those with secrets only for their owner."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.marker.write_text("The folder of a local run of Collegium; the next run removes it.\n")
        for folder in (self.chain_state.parent, self.artifacts, self.flower, self.evaluations):
            folder.mkdir(parents=True, exist_ok=True)
        # Logs too: a daemon may say more than its author meant to.
        for folder in (self.keys, self.tokens, self.logs):
            folder.mkdir(mode=0o700, exist_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, all at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    os.replace(temporary, path)


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
