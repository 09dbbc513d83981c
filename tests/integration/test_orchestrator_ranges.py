"""Artifacts over HTTP in parts: ranges of downloads, pieces of uploads, a full store."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import Response

from contracts.digests import sha256_digest
from orchestrator.adapters.artifacts import FolderArtifactStore
from orchestrator.app import create_app
from tests.integration.orchestrator_double_rig import ARTIFACT_LIMIT_BYTES, DEPLOYMENT, Rig

DATA = bytes(range(256)) * 20
SIZE = len(DATA)
DIGEST = sha256_digest(DATA)
PATH = f"/v1/artifacts/{DIGEST}"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def code(response: Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


# --- downloads


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, SIZE),
        ("bytes=1-9", 1, 10),
        ("bytes=100-99999", 100, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-99999", 0, SIZE),
    ],
)
def test_a_range(rig: Rig, asked: str, start: int, stop: int) -> None:
    rig.put(DATA)
    response = rig.conductor.get(PATH, headers={"Range": asked})
    assert (response.status_code, response.content) == (206, DATA[start:stop])
    assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert response.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=99999-999999", "bytes=-0"])
def test_a_range_that_holds_nothing(rig: Rig, asked: str) -> None:
    rig.put(DATA)
    response = rig.conductor.get(PATH, headers={"Range": asked})
    assert code(response) == (416, "range_not_satisfiable")
    assert response.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "asked",
    ["bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=" + "9" * 40 + "-"],
)
def test_what_is_no_range_is_ignored(rig: Rig, asked: str) -> None:
    rig.put(DATA)
    response = rig.conductor.get(PATH, headers={"Range": asked})
    assert (response.status_code, response.content) == (200, DATA)


def test_a_range_of_another_version_is_the_whole(rig: Rig) -> None:
    rig.put(DATA)
    headers = {"Range": "bytes=0-0", "If-Range": f'"{DIGEST}"'}
    assert rig.conductor.get(PATH, headers=headers).status_code == 206
    assert rig.conductor.get(PATH, headers=headers | {"If-Range": '"other"'}).status_code == 200


def test_looking_costs_no_bytes(rig: Rig) -> None:
    assert rig.conductor.head(PATH).status_code == 404
    rig.put(DATA)
    found = rig.conductor.head(PATH)
    assert (found.status_code, found.content) == (200, b"")
    assert found.headers["content-length"] == str(SIZE)
    assert found.headers["accept-ranges"] == rig.conductor.get(PATH).headers["accept-ranges"] == "bytes"
    assert rig.auditor.head(PATH).status_code == 403
    again = rig.conductor.get(PATH, headers={"If-None-Match": found.headers["etag"], "Range": "bytes=0-0"})
    assert (again.status_code, again.content) == (304, b"")


# --- uploads


def send(rig: Rig, start: int, stop: int, data: bytes = DATA) -> Response:
    headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
    return rig.conductor.put(PATH, content=data[start:stop], headers=headers)


def how_far(rig: Rig) -> Response:
    return rig.conductor.put(PATH, headers={"Content-Range": f"bytes */{SIZE}"})


def test_an_upload_in_pieces(rig: Rig) -> None:
    assert (how_far(rig).status_code, how_far(rig).headers["upload-offset"]) == (202, "0")
    first = send(rig, 0, 1_000)
    assert (first.status_code, first.headers["upload-offset"]) == (202, "1000")
    assert first.json() == {"digest": DIGEST, "complete": False}
    assert code(send(rig, 0, 1_000)) == (409, "wrong_offset")
    assert code(send(rig, 1_001, SIZE)) == (409, "wrong_offset")
    assert how_far(rig).headers["upload-offset"] == "1000"
    assert rig.conductor.get(PATH).status_code == 404
    last = send(rig, 1_000, SIZE)
    assert (last.status_code, last.json()["complete"]) == (201, True)
    assert rig.conductor.get(PATH).content == DATA
    assert how_far(rig).json()["complete"] is True


def test_an_upload_goes_on_in_another_process(rig: Rig, tmp_path: Path) -> None:
    send(rig, 0, 1_000)
    rig.app.state.services = create_app(
        rig.records, FolderArtifactStore(tmp_path / "artifacts", ARTIFACT_LIMIT_BYTES), DEPLOYMENT, rig.clock
    ).state.services
    assert send(rig, 1_000, SIZE).status_code == 201


def test_pieces_of_other_bytes_are_refused_at_the_end_and_forgotten(rig: Rig) -> None:
    assert send(rig, 0, 1_000, b"\0" * SIZE).status_code == 202
    assert code(send(rig, 1_000, SIZE)) == (422, "digest_mismatch")
    assert how_far(rig).headers["upload-offset"] == "0"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes 0-1",
        "bytes 0-1/*",
        "bytes */*",
        "bytes 5-4/10",
        "bytes 0-10/10",
        "bytes 0-4/" + "9" * 30,
    ],
)
def test_content_ranges_that_are_none(rig: Rig, header: str) -> None:
    response = rig.conductor.put(PATH, content=b"01234", headers={"Content-Range": header})
    assert code(response) == (422, "invalid_content_range")


def test_a_body_of_another_length_than_its_range(rig: Rig) -> None:
    for header in ("bytes 0-3/10", "bytes 0-5/10", "bytes */10"):
        response = rig.conductor.put(PATH, content=b"01234", headers={"Content-Range": header})
        assert code(response) == (422, "wrong_piece_length")
        # Without a Content-Length the store counts.
        chunked = rig.conductor.put(PATH, content=iter([b"01234"]), headers={"Content-Range": header})
        assert chunked.status_code in (202, 422), chunked.text
    assert int(how_far(rig).headers["upload-offset"]) <= 5


def test_what_is_too_large_is_refused_at_its_first_piece(rig: Rig) -> None:
    headers = {"Content-Range": f"bytes 0-4/{ARTIFACT_LIMIT_BYTES + 1}"}
    assert code(rig.conductor.put(PATH, content=b"01234", headers=headers)) == (413, "too_large")


def test_a_full_store_says_so_and_keeps_nothing_of_it(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    store = FolderArtifactStore(folder, ARTIFACT_LIMIT_BYTES, quota_bytes=SIZE - 1)
    rig.app.state.services = create_app(rig.records, store, DEPLOYMENT, rig.clock).state.services
    response = rig.conductor.put(PATH, content=DATA)
    assert code(response) == (507, "storage_full")
    assert str(SIZE - 1) in response.json()["detail"]
    assert code(rig.conductor.put(PATH, content=iter([DATA]))) == (507, "storage_full")
    assert code(send(rig, 0, 10)) == (507, "storage_full")
    assert [file for file in folder.rglob("*") if file.is_file()] == []
    small = b"small enough"
    assert rig.conductor.put(f"/v1/artifacts/{sha256_digest(small)}", content=small).status_code == 201
