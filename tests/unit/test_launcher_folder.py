"""The launcher's folder: it removes only what it made itself, and says nothing secret in its logs."""

from pathlib import Path

import pytest

from deploy.local.__main__ import _own
from deploy.local.supervisor import LauncherError


def test_a_runs_folder_is_replaced(tmp_path: Path) -> None:
    with _own(tmp_path / "run") as layout:
        layout.report.write_text("old")
    with _own(tmp_path / "run") as layout:
        assert not layout.report.exists()


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with _own(tmp_path / "run") as layout:
        assert layout.logs.is_dir()


@pytest.mark.parametrize("name", ["logs/thesis.txt", "keys/mine", "report.json"])
def test_somebody_elses_folder_is_left_alone(tmp_path: Path, name: str) -> None:
    precious = tmp_path / "run" / name
    precious.parent.mkdir(parents=True, exist_ok=True)
    precious.write_text("precious")
    with pytest.raises(LauncherError, match="not made by this launcher"), _own(tmp_path / "run"):
        pass
    assert precious.read_text() == "precious"
