"""The ClientApp: what goes wrong inside the network is not told outside."""

import time
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, Metadata, RecordDict

from tier_global.client_app import app
from tier_global.exchange import IdentifyRequest
from tier_global.node_config import CONFIG_VARIABLE
from tier_global.wire import encode

CONTEXT = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})


def ask(records: RecordDict) -> Message:
    metadata = Metadata(
        run_id=1,
        message_id="letter",
        src_node_id=1,
        dst_node_id=2,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=60.0,
        message_type="query",
    )
    return app(Message(metadata=metadata, content=records), CONTEXT)


def test_a_node_that_cannot_work_does_not_say_where_its_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "secret-folder" / "node.json"))

    reply = ask(encode(IdentifyRequest(task=1, round=1, challenge="0x" + "42" * 32)))

    assert reply.has_error()
    assert reply.error.reason == "the node failed; its own log says why"


def test_what_is_no_request_is_named() -> None:
    reply = ask(RecordDict({"message": ConfigRecord({"header": "{"})}))

    assert reply.has_error()
    assert reply.error.reason == "the header is not JSON"
