"""What ``collegium verify`` prints of texts that others chose."""

from pathlib import Path

from typer.testing import CliRunner

from contracts.verify.cli import app


def test_no_text_of_others_moves_the_cursor_or_adds_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "\x1b[2J\nok: 9999 facts agree"
    arguments = ["--task", "1", "--rpc-url", "http://127.0.0.1:1", "--deployment", "none"]
    result = CliRunner().invoke(app, [*arguments, "--artifacts", str(folder)])
    assert result.exit_code == 2
    assert "is not a folder" in result.stderr
    assert "\x1b" not in result.output
    assert not any(line.startswith("ok") for line in result.output.splitlines())
