"""The app bundle: the same digest everywhere, and one other byte is another bundle."""

import hashlib
import io
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

from contracts.digests import sha256_digest
from tier_global.bundle import APP_FOLDER, installed_bundle, require_allowed
from tier_global.errors import BundleRefused


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The app folder, elsewhere and at another time."""
    folder = tmp_path / "copy"
    shutil.copytree(APP_FOLDER, folder)
    os.utime(folder / "pyproject.toml", (0, 0))
    return folder


def test_the_digest_depends_on_the_content_alone(copy: Path) -> None:
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "client.pyc").write_bytes(b"x")

    assert installed_bundle(copy) == installed_bundle() == "0x" + hashlib.sha256(bundle(copy)).hexdigest()


def test_the_bundle_brings_no_code() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle(APP_FOLDER))) as archive:
        assert sorted(archive.namelist()) == [".info/CONTENT", "pyproject.toml"]


def test_another_bundle_is_refused_and_both_digests_are_named(copy: Path) -> None:
    (copy / "httpx.py").write_text("print('not the library')\n")
    other = bundle(copy)

    require_allowed(other, [installed_bundle(), sha256_digest(other)])
    with pytest.raises(BundleRefused) as refusal:
        require_allowed(other, [installed_bundle()])

    assert refusal.value.digest == sha256_digest(other) == installed_bundle(copy)
    assert sha256_digest(other) in str(refusal.value)
    assert installed_bundle() in str(refusal.value)


@pytest.mark.parametrize("bundle_bytes", [b"", b"PK\x03\x04 rubbish"])
def test_what_is_no_bundle_is_refused_unread(bundle_bytes: bytes) -> None:
    with pytest.raises(BundleRefused):
        require_allowed(bundle_bytes, [installed_bundle()])


def bundle(folder: Path) -> bytes:
    return build_fab_from_disk(folder)
