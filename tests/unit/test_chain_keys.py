"""Key files: only the owner's, and never shown."""

import os
from pathlib import Path

import pytest

from orchestrator.adapters.chain.keys import ChainKeyError, InvalidKeyFile, UnsafeKeyFile, read_key

KEY = "0x" + "5a" * 32


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(KEY + "\n")
    return path


def test_a_private_key_file_is_read(key_file: Path) -> None:
    assert read_key(key_file) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o777])
def test_a_file_that_others_can_use_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(UnsafeKeyFile, match="0600"):
        read_key(key_file)


@pytest.mark.parametrize("text", ["", KEY[:-1], KEY + "00", KEY[2:], "0x" + "zz" * 32, KEY + "\n" + KEY])
def test_a_file_without_one_key_is_refused_and_not_quoted(key_file: Path, text: str) -> None:
    key_file.write_text(text)
    with pytest.raises(InvalidKeyFile) as refusal:
        read_key(key_file)
    assert "5a5a" not in str(refusal.value)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    for name in ("nothing", "pipe", "folder"):
        with pytest.raises(ChainKeyError):
            read_key(tmp_path / name)
