"""The launcher's folder: it removes only what it made itself, and says nothing secret in its logs."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local import main_job
from deploy.local.__main__ import _own
from deploy.local.main_job import MainJob, Options
from deploy.local.profile import PROFILES, Inner
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


def test_the_logs_are_their_owners(tmp_path: Path) -> None:
    with _own(tmp_path / "run") as layout:
        modes = {folder.stat().st_mode & 0o777 for folder in (layout.logs, layout.keys, layout.tokens)}
    assert modes == {0o700}


def test_the_sign_in_link_is_shown_and_not_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collegium = tmp_path / "collegium"
    collegium.write_text("""#!/bin/sh
echo '{"data": {"url": "http://127.0.0.1/login?ticket=secret"}}'
echo "a warning" >&2
""")
    collegium.chmod(0o700)
    monkeypatch.setattr(main_job, "BIN", tmp_path)
    said = StringIO()
    options = Options(seed=1, inner=Inner.SIMULATOR, poisoned=False, baselines=False, model_cache=tmp_path)
    with _own(tmp_path / "run") as layout:
        job = MainJob(PROFILES["tiny"], layout, options, Console(file=said))
        job.say_where_the_dashboard_is()
        logged = "".join(file.read_text() for file in layout.logs.iterdir())
    assert "ticket=secret" in said.getvalue()
    assert logged == "a warning\n"
