"""Node messages that are delivered again and again, one after the other and at the same time."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.faults.hub import ROUND
from tests.faults.scene import Scene
from tests.integration.orchestrator_rig import BY_ADDRESS

COPIES = 4


def test_every_message_again_at_every_look(opened: Scene) -> None:
    with opened.case("each message delivered again and again", patience_s=0.0) as hub:
        hub.start_worker()
        hub.play_to_the_end()
        opened.require_whole(hub)


@pytest.mark.parametrize("scene", ["training"], indirect=True)
def test_copies_at_the_same_time(scene: Scene) -> None:
    with scene.case("copies of a message at the same time") as hub, ThreadPoolExecutor(COPIES) as threads:
        hub.start_worker()
        state = hub.get(ROUND)
        for node in state["proposers"]:
            hub.put(BY_ADDRESS[node].adapter(1))
            body = BY_ADDRESS[node].proposal(hub.domain, state)
            deliver = partial(hub.api.post, f"{ROUND}/proposals", json=body)
            answers = [each.result() for each in [threads.submit(deliver) for _ in range(COPIES)]]
            # Two that find nothing at the same moment: one records it, the other is told to ask again.
            assert {answer.status_code for answer in answers} <= {202, 409}
            assert len({answer.json()["intent"] for answer in answers if answer.status_code == 202}) == 1
        hub.play_to_the_end()
        scene.require_whole(hub)
