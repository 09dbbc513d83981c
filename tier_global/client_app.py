"""The Flower ClientApp: hands each message to the node, and the node's answer back.

The node's own ``message_process`` calls it, in a new process for every message.
"""

import logging
import os
from pathlib import Path

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from tier_global.logs import show_logs
from tier_global.node_config import CONFIG_VARIABLE, NodeConfig

NODE_FAILED = 0
"""Flower's error code for what has no code of its own."""

app = ClientApp()
log = logging.getLogger("collegium.node")


@app.query()
@app.train()
@app.evaluate()
def answer(message: Message, _context: Context) -> Message:
    """Answer one request of the conductor."""
    from tier_global.errors import MalformedExchange

    show_logs()
    try:
        return _answer(message)
    except MalformedExchange as error:
        log.warning("a message was refused: %s", error)
        return Message(Error(NODE_FAILED, str(error)[:300]), reply_to=message)
    except Exception:
        # Flower would send the text of any exception to the hub: paths, hosts, perhaps data. It stays here.
        return failed(message)


def failed(message: Message) -> Message:
    """The reply when the node itself failed; the exception at hand goes to the node's own log only."""
    log.exception("the node failed")
    return Message(Error(NODE_FAILED, "the node failed; its own log says why"), reply_to=message)


def _answer(message: Message) -> Message:
    from tier_global.node_process import open_node
    from tier_global.wire import decode_request, encode

    request = decode_request(message.content)
    with open_node(NodeConfig.load(Path(os.environ[CONFIG_VARIABLE]))) as node:
        return Message(encode(node.answer(request)), reply_to=message)
