"""kill -9 of the API: at every transaction that it commits, at every step of an upload, in mid-body.

Whoever got no answer asks again, with the same ``Idempotency-Key``.
"""

import itertools
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from contracts.digests import sha256_digest
from orchestrator.api.uploads import CHUNK_BYTES
from tests.faults.conftest import ON_SQLITE
from tests.faults.hub import CLOSED, Hub, Later, eventually
from tests.faults.mortal import Death
from tests.faults.scene import Scene, cases
from tests.integration.orchestrator_rig import NETWORKS

Side = Literal["before", "after"]
SIDES: tuple[Side, Side] = ("before", "after")
LIVES_DEADLINE_S = 300.0
LEAST_LIVES = 30
PIECE_BYTES = 70_000
ARTIFACT_BYTES = 150_000
LARGE_ARTIFACT_BYTES = 2 * CHUNK_BYTES
_artifacts = itertools.count()
ON_BOTH_SIDES = pytest.mark.parametrize("side", SIDES)


def insist(hub: Hub, ask: Callable[[], Any]) -> Any:
    """What the API answers in the end, however often it dies before."""

    def look() -> Any:
        hub.revive_api()
        with suppress(Later):
            return ask()
        return None

    return eventually(look)


def play_on(scene: Scene, hub: Hub) -> None:
    """The rest of the round."""
    hub.start_worker()
    hub.play_to_the_end()
    assert hub.deaths == 0
    scene.require_whole(hub)


@pytest.fixture(scope="session")
def commits(scene: Scene) -> int:
    """How many commits the API makes from here to the next phase when nobody disturbs it."""
    with scene.case("undisturbed") as hub:
        hub.start_api()
        hub.start_worker()
        hub.play(lambda: hub.phase() not in ("", scene.phase))
        found = len(hub.journal("api-commits"))
        hub.play_to_the_end()
        scene.require_whole(hub)
    return found


@pytest.mark.timeout(3600)
@ON_SQLITE
@ON_BOTH_SIDES
def test_an_api_killed_at_any_commit(scene: Scene, commits: int, side: Side) -> None:
    assert commits >= 9
    for number in range(1, commits + 1):
        with scene.case(f"kill -9 of the API {side} a commit, {scene.phase}") as hub:
            hub.start_api(Death(number, side))
            hub.start_worker()
            hub.play_to_the_end()
            assert hub.api_deaths == 1
            scene.require_whole(hub)


@pytest.mark.timeout(600)
def test_an_api_whose_every_life_ends_early(opened: Scene) -> None:
    with opened.case("kill -9 of the API in each life, at its first, second or third commit") as hub:
        # A request has three: its claim, its effect and its answer. Each life begins with a claim.
        deaths = itertools.cycle(Death(number, side) for number in (1, 2, 3) for side in SIDES)
        hub.next_api_death = lambda: next(deaths)
        hub.start_api(next(deaths))
        hub.start_worker()
        hub.play(lambda: hub.phase() in CLOSED, LIVES_DEADLINE_S)
        assert hub.api_deaths >= LEAST_LIVES
        hub.next_api_death = lambda: None
        hub.play_to_the_end()
        opened.require_whole(hub)


def admit_a_fifth(hub: Hub) -> Any:
    """The council orders a node's admission."""
    account = str(Account.from_key(keccak(text="a fifth network")).address)
    return hub.post(
        "/v1/nodes", {"node": account, "signer": account, "group": len(NETWORKS) + 1, "name": "eclipse"}
    )


@ON_BOTH_SIDES
def test_an_order_whose_answer_was_lost_is_carried_out_once(opened: Scene, side: Side) -> None:
    with opened.case("undisturbed") as hub:
        hub.start_api()
        admit_a_fifth(hub)
        commits = len(hub.journal("api-commits"))
        play_on(opened, hub)
    assert commits >= 3
    for number in range(1, commits + 1):
        with opened.case(f"kill -9 of the API {side} a commit of an order") as hub:
            hub.start_api(Death(number, side))
            ordered = insist(hub, lambda hub=hub: admit_a_fifth(hub))
            assert hub.api_deaths == 1
            assert insist(hub, lambda hub=hub: admit_a_fifth(hub))["intent"] == ordered["intent"]
            play_on(opened, hub)
            assert len(hub.get("/v1/nodes")["items"]) == len(NETWORKS) + 1


# --- uploads


def upload_whole(hub: Hub, data: bytes) -> None:
    """Put an artifact with one request."""
    hub.put(data)


def upload_in_pieces(hub: Hub, data: bytes) -> None:
    """Put an artifact in pieces, from where it stands."""
    path = f"/v1/artifacts/{sha256_digest(data)}"
    asked = hub.ask("PUT", path, headers={"Content-Range": f"bytes */{len(data)}"})
    while not asked.json()["complete"]:
        first = int(asked.headers["Upload-Offset"])
        piece = data[first : first + PIECE_BYTES]
        span = f"bytes {first}-{first + len(piece) - 1}/{len(data)}"
        asked = hub.ask("PUT", path, content=piece, headers={"Content-Range": span})
        assert asked.is_success, asked.text


Upload = Callable[[Hub, bytes], None]


def new_artifact(size_bytes: int = ARTIFACT_BYTES) -> bytes:
    """Bytes that nobody has uploaded."""
    return next(_artifacts).to_bytes(4) * (size_bytes // 4)


def require_whole_or_absent(hub: Hub, data: bytes) -> None:
    """An artifact is stored with all its bytes, or not at all."""
    stored = insist(hub, lambda: hub.ask("GET", f"/v1/artifacts/{sha256_digest(data)}"))
    assert stored.status_code in (200, 404)
    assert stored.status_code == 404 or stored.content == data


@ON_SQLITE
@pytest.mark.timeout(900)
@pytest.mark.parametrize("upload", [upload_whole, upload_in_pieces])
@pytest.mark.parametrize("scene", ["training"], indirect=True)
def test_an_api_killed_at_any_call_to_the_file_system(scene: Scene, upload: Upload) -> None:
    with scene.case("undisturbed") as hub:
        hub.start_api()
        upload(hub, new_artifact())
        calls = hub.journal("api-files")
        play_on(scene, hub)
    assert {"fsync", "replace", "write"} <= set(calls)
    with scene.case("undisturbed") as hub:
        kept: list[bytes] = []
        for number, side in itertools.product(range(1, len(calls) + 1), SIDES):
            cases[f"kill -9 of the API {side} a call to the file system in {upload.__name__}"] += 1
            if hub.api_process is not None:
                hub.kill_api()
            hub.api_deaths = 0
            hub.start_api(Death(number, side, "file"))
            kept.append(new_artifact())
            with suppress(Later):
                upload(hub, kept[-1])
            require_whole_or_absent(hub, kept[-1])
            assert hub.api_deaths == 1, calls[number - 1]
            upload(hub, kept[-1])
        for data in kept:
            assert hub.ask("GET", f"/v1/artifacts/{sha256_digest(data)}").content == data
        play_on(scene, hub)


@ON_SQLITE
@pytest.mark.parametrize("in_pieces", [False, True])
def test_an_api_killed_while_a_body_arrives(scene: Scene, in_pieces: bool) -> None:
    data = new_artifact(LARGE_ARTIFACT_BYTES)
    path = f"/v1/artifacts/{sha256_digest(data)}"
    with scene.case(f"kill -9 of the API in the middle of an upload, {scene.phase}") as hub:
        hub.start_api()
        head = [f"PUT {path} HTTP/1.1", "Host: hub", f"Authorization: Bearer {hub.token}"]
        head.append(f"Content-Length: {len(data)}")
        if in_pieces:
            head.append(f"Content-Range: bytes 0-{len(data) - 1}/{len(data)}")
        earlier = set(incoming(hub))
        with closing(socket.create_connection(("127.0.0.1", hub.api.base_url.port))) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + data[: CHUNK_BYTES + PIECE_BYTES])
            eventually(lambda: any(file.stat().st_size for file in set(incoming(hub)) - earlier))
            hub.kill_api()
        require_whole_or_absent(hub, data)
        assert hub.api_deaths == 1
        if in_pieces:
            asked = hub.ask("PUT", path, headers={"Content-Range": f"bytes */{len(data)}"})
            assert int(asked.headers["Upload-Offset"]) >= CHUNK_BYTES
        (upload_in_pieces if in_pieces else upload_whole)(hub, data)
        assert hub.ask("GET", path).content == data
        play_on(scene, hub)


def incoming(hub: Hub) -> Iterator[Path]:
    """The files of uploads that are not finished."""
    return (hub.settings.artifact_folder / "incoming").glob("*")
