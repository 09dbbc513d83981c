"""The Flower ClientApp: hands each message to the node, and the node's answer back.

Every message starts a new process, so that what a node needs is imported only when a message has come.
"""

import os
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from tier_global.logs import show_logs
from tier_global.node_config import CONFIG_VARIABLE, NodeConfig

app = ClientApp()


@app.query()
@app.train()
@app.evaluate()
def answer(message: Message, _context: Context) -> Message:
    """Answer one request of the conductor."""
    from tier_global.node_process import open_node
    from tier_global.wire import decode_request, encode

    show_logs()
    request = decode_request(message.content)
    with open_node(NodeConfig.load(Path(os.environ[CONFIG_VARIABLE]))) as node:
        return Message(encode(node.answer(request)), reply_to=message)
