"""The signing key's file: made private, refused when it is not."""

import os
import stat
from pathlib import Path

import pytest

from tier_global.errors import UnsafeKeyFile
from tier_global.keys import create_key, read_key

KEY = "0x" + "11" * 32


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_new_key_is_private_and_can_be_read(tmp_path: Path) -> None:
    key = create_key(tmp_path / "node.key")

    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600
    assert read_key(tmp_path / "node.key").address == key.address


def test_a_key_may_sign_for_a_wallet(tmp_path: Path) -> None:
    wallet = "0x" + "77" * 20
    path = write(tmp_path / "node.key", KEY)

    assert read_key(path, wallet).address == wallet
    assert read_key(path, wallet).reveal() == KEY


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "node.key", KEY)

    with pytest.raises(UnsafeKeyFile, match="exists already"):
        create_key(path)
    assert path.read_text() == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o611])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UnsafeKeyFile, match="chmod 600"):
        read_key(write(tmp_path / "node.key", KEY, mode))


def test_a_key_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "node.key", KEY)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(UnsafeKeyFile, match="belongs to another user"):
        read_key(path)


@pytest.mark.parametrize("text", ["", "0x12", "11" * 32, KEY + "00", "0x" + "zz" * 32, "0x" + "00" * 32])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnsafeKeyFile) as refusal:
        read_key(write(tmp_path / "node.key", text))
    assert not text or text not in str(refusal.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsafeKeyFile, match=r"node\.key cannot be read"):
        read_key(tmp_path / "node.key")


def test_a_key_does_not_show_itself(tmp_path: Path) -> None:
    key = read_key(write(tmp_path / "node.key", KEY + "\n"))

    assert KEY[2:] not in repr(key)
    assert KEY[2:] not in str(key)
