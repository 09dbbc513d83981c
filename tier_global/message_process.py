"""Answers one Flower message, in a process of its own: looks at the bundle of its run, then asks the node.

It stands where Flower's ``flwr-clientapp`` would, which installs the bundle that the hub sent and puts its
folder first on the import path. Here nothing of a bundle is ever written to disk or imported: the ClientApp
is the installed one, and a message of a run with a bundle that the operator does not allow gets an error.

Not here: when a message has come (``supernode``), what the answer is (``client_app``).
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode, SubStatus
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, RuntimeVersionHttpInterceptor
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from tier_global.bundle import require_allowed
from tier_global.client_app import app, failed
from tier_global.errors import BundleRefused
from tier_global.logs import show_logs
from tier_global.node_config import CONFIG_VARIABLE, NodeConfig
from tier_global.node_process import open_record
from tier_global.parent import die_with_parent

TOKEN_VARIABLE = "COLLEGIUM_MESSAGE_TOKEN"

log = logging.getLogger("collegium.node")


def reply_to(message: Message, context: Context, bundle: bytes) -> Message:
    """The node's answer to a message of a run that came with ``bundle``."""
    try:
        config = NodeConfig.load(Path(os.environ[CONFIG_VARIABLE]))
        try:
            require_allowed(bundle, config.allowed_bundles)
        except BundleRefused as refusal:
            log.warning("refused: %s", refusal)
            with open_record(config) as record:
                record.note_refused_bundle(refusal.digest)
            return Message(Error(ErrorCode.INVALID_FAB, str(refusal)), reply_to=message)
        return app(message=message, context=context)
    except Exception:
        return failed(message)


def main() -> int:
    """Answer the message that the token is for."""
    parser = argparse.ArgumentParser(description="answer one Flower message")
    parser.add_argument("--parent", type=int, required=True, help="the process that started this one")
    parser.add_argument("--runtime-api", required=True, help="HOST:PORT of the SuperNode's own API")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    show_logs()
    # Not for the processes that the node starts.
    token = os.environ.pop(TOKEN_VARIABLE)
    with RuntimeHttpClient.from_server_address(
        arguments.runtime_api,
        insecure=True,
        root_certificates=None,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"),
            RuntimeTokenHttpInterceptor(token),
        ],
        retry_invoker=make_simple_http_retry_invoker(),
    ) as client:
        heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(client))
        heartbeat.start()
        message, context, _, bundle = pull_task_input(client)
        push_message(client, reply_to(message, context, bundle.content), context)
        push_task_output(client=client, context=context, sub_status=SubStatus.COMPLETED, details="")
        heartbeat.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
