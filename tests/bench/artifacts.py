"""A file of 4 GB up to ``collegium serve`` and down again: how much memory, and how fast?

The yardstick is what a person would do by hand with the same file on the same disk: ``cp`` it and
``sha256sum`` the copy, one after the other, and both are timed together. Memory is the peak of the server's
resident memory above what it held before, which the kernel keeps. The throughput that counts is the lower
one of both directions.
"""

import hashlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.bench._hub import ServedHub, peak_resident_bytes, resident_bytes, served_hub
from tests.bench._rows import Row

SIZE_BYTES = 4 * 10**9
PIECE_BYTES = 1 << 20
MEGABYTE = 1_000_000
TIMEOUT_S = 600.0
MOST_GROWTH_MB = 64.0
LEAST_RATIO = 0.5


def run() -> list[Row]:
    """The rows of ``artifacts``."""
    return measure(SIZE_BYTES)


def measure(size_bytes: int) -> list[Row]:
    """The rows for a file of a size."""
    # Not in a memory file system, where such a file may not fit.
    with tempfile.TemporaryDirectory(prefix="collegium-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        digest = _make(folder / "file", size_bytes)
        by_hand_s = _by_hand(folder)
        with served_hub(folder, COLLEGIUM_ARTIFACT_LIMIT_BYTES=str(2 * size_bytes)) as hub:
            before_bytes = resident_bytes(hub.pid)
            up_s = _upload(hub, folder / "file", digest)
            down_s = _download(hub, digest)
            growth_mb = (peak_resident_bytes(hub.pid) - before_bytes) / MEGABYTE
    mb = size_bytes / MEGABYTE
    how = (
        f"{mb:.0f} MB up in {up_s:.1f} s, down in {down_s:.1f} s; "
        f"cp and sha256sum in {by_hand_s:.1f} s; {mb / max(up_s, down_s):.0f} MB/s the slower way"
    )
    ratio = by_hand_s / max(up_s, down_s)
    return [
        Row.at_most("artifacts.growth_mb", growth_mb, "MB", MOST_GROWTH_MB, "peak resident above idle"),
        Row.at_least("artifacts.vs_cp_and_hash", ratio, "ratio", LEAST_RATIO, how),
    ]


def _make(path: Path, size_bytes: int) -> str:
    """A file of pseudo-random pieces; its digest."""
    sha256, left = hashlib.sha256(), size_bytes
    piece = hashlib.shake_256(b"piece").digest(PIECE_BYTES)
    with path.open("wb") as file:
        number = 0
        while left > 0:
            number += 1
            data = (number.to_bytes(8, "big") + piece[8:])[:left]
            sha256.update(data)
            file.write(data)
            left -= len(data)
    return "0x" + sha256.hexdigest()


def _by_hand(folder: Path) -> float:
    began_s = time.perf_counter()
    subprocess.run(["cp", folder / "file", folder / "copy"], check=True)
    subprocess.run(["sha256sum", folder / "copy"], check=True, capture_output=True)
    taken_s = time.perf_counter() - began_s
    (folder / "copy").unlink()
    return taken_s


def _upload(hub: ServedHub, path: Path, digest: str) -> float:
    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    headers = hub.headers | {"Content-Length": str(path.stat().st_size)}
    began_s = time.perf_counter()
    url = f"{hub.url}/v1/artifacts/{digest}"
    answer = httpx.put(url, content=pieces(), headers=headers, timeout=TIMEOUT_S)
    taken_s = time.perf_counter() - began_s
    if answer.status_code != 201:
        raise RuntimeError(answer.text)
    return taken_s


def _download(hub: ServedHub, digest: str) -> float:
    """Read it all, and check that the bytes are the file's: whoever downloads has to."""
    sha256 = hashlib.sha256()
    url = f"{hub.url}/v1/artifacts/{digest}"
    began_s = time.perf_counter()
    with httpx.stream("GET", url, headers=hub.headers, timeout=TIMEOUT_S) as answer:
        for piece in answer.iter_raw(PIECE_BYTES):
            sha256.update(piece)
    taken_s = time.perf_counter() - began_s
    if "0x" + sha256.hexdigest() != digest:
        raise RuntimeError("what came down is not what went up")
    return taken_s
