"""The attacker of the poisoned run does what the documents say of it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.manifest import FloatArray, Manifest, adapter_digest
from contracts.task import TaskSpec
from deploy.local import poison

PARENT: dict[str, FloatArray] = {"a": np.array([1.0, 2.0], np.float32), "b": np.array([[0.5]], np.float32)}
TRAINED: dict[str, FloatArray] = {"a": np.array([1.5, 2.0], np.float32), "b": np.array([[0.25]], np.float32)}
MANIFEST = Manifest.of(PARENT)


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    draft = json.loads((Path(poison.__file__).parent / "tiny_task.json").read_text())
    draft["manifest"] = MANIFEST.model_dump(mode="json")
    draft["genesis_digest"] = adapter_digest(MANIFEST.encode(PARENT))
    draft["base_model"]["digest"] = "0x" + "ab" * 32
    spec = TaskSpec.parse(json.dumps(draft).encode())
    file = tmp_path / "task.json"
    file.write_bytes(spec.canonical_bytes())
    return file


def arguments(tmp_path: Path, spec_file: Path, command: str) -> list[str]:
    (tmp_path / "parent.safetensors").write_bytes(MANIFEST.encode(PARENT))
    (tmp_path / "network.json").write_text('{"name": "west"}')
    return [
        "poison",
        command,
        *("--spec", str(spec_file), "--network", str(tmp_path / "network.json")),
        *("--parent", str(tmp_path / "parent.safetensors"), "--out", str(tmp_path / "out")),
    ]


def test_its_update_is_flipped_and_scaled_by_five(
    tmp_path: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(command: list[str], check: bool) -> object:
        assert command[1:4] == ["-m", "tier_local", "train"]
        out = tmp_path / "out"
        out.mkdir()
        (out / "adapter.safetensors").write_bytes(MANIFEST.encode(TRAINED))
        (out / "report.json").write_text('{"adapter_digest": "0x00", "kind": "train"}')
        return type("Done", (), {"returncode": 0})()

    monkeypatch.setattr(sys, "argv", arguments(tmp_path, spec_file, "train"))
    monkeypatch.setattr("subprocess.run", train)
    assert poison.main() == 0

    data = (tmp_path / "out" / "adapter.safetensors").read_bytes()
    tensors = MANIFEST.decode(data)
    np.testing.assert_array_equal(tensors["a"], np.array([-1.5, 2.0], np.float32))
    np.testing.assert_array_equal(tensors["b"], np.array([[1.75]], np.float32))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report == {"adapter_digest": adapter_digest(data), "kind": "train"}


def test_a_failed_training_stays_failed(
    tmp_path: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", arguments(tmp_path, spec_file, "train"))
    monkeypatch.setattr("subprocess.run", lambda *_, **__: type("Done", (), {"returncode": 4})())
    assert poison.main() == 4
    assert not (tmp_path / "out").exists()


def test_it_claims_that_every_proposal_does_eight_nats_of_harm(
    tmp_path: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = tmp_path / "all.safetensors"
    candidate.write_bytes(MANIFEST.encode(TRAINED))
    argv = arguments(tmp_path, spec_file, "evaluate")
    argv += ["--candidate", f"all={candidate}", "--candidate", f"without-0={candidate}"]
    monkeypatch.setattr(sys, "argv", argv)
    assert poison.main() == 0
    losses = json.loads((tmp_path / "out" / "report.json").read_text())["losses_nats"]
    assert losses["without-0"] - losses["all"] == -8.0
    assert set(losses) == {"parent", "all", "without-0"}
