"""Puts a node together from its configuration: key, chain, inner tier, record."""

from collections.abc import Iterator
from contextlib import contextmanager

from contracts.deployment import Deployment
from contracts.errors import ContractViolation
from tier_global.chain_view import JsonRpcChainView
from tier_global.clock import SystemClock
from tier_global.errors import SetupError
from tier_global.inner import InnerProcess
from tier_global.keys import read_key
from tier_global.node import Node
from tier_global.node_config import NodeConfig
from tier_global.record import NodeRecord
from tier_global.signer_rules import RuledSigner, SignedRecord
from tier_global.signer_socket import SocketSigner
from tier_global.signing import KeySigner, Signer

_SIGNED_FILE = "signed.sqlite"
_RECORD_FILE = "record.sqlite"
_INNER_LOG_FILE = "inner.log"


@contextmanager
def open_node(config: NodeConfig) -> Iterator[Node]:
    """The node of ``config``, ready to answer.

    Raises:
        SetupError: a file that the configuration names is missing or wrong.
    """
    deployment = read_deployment(config)
    clock = SystemClock()
    with open_record(config) as record:
        yield Node(
            signer_of(config, deployment),
            JsonRpcChainView(config.rpc_url, deployment),
            inner_of(config),
            record,
            config.state_folder,
            clock,
        )


def signer_of(config: NodeConfig, deployment: Deployment) -> Signer:
    """The process that holds the key, where there is one; else the key in this process.

    Raises:
        SetupError: the key file is missing or wrong.
    """
    if config.signer_socket is not None:
        return SocketSigner(config.address, config.signer_socket)
    key = read_key(config.key_file, config.wallet)
    return KeySigner(config.address, key, deployment.rounds_domain)


@contextmanager
def open_signer(config: NodeConfig) -> Iterator[RuledSigner]:
    """The signer of ``config`` with its key, its rules and its record.

    Raises:
        SetupError: a file that the configuration names is missing or wrong.
    """
    deployment = read_deployment(config)
    key = read_key(config.key_file, config.wallet)
    with SignedRecord(config.state_folder / _SIGNED_FILE) as record:
        yield RuledSigner(
            KeySigner(config.address, key, deployment.rounds_domain),
            deployment.rounds_domain,
            JsonRpcChainView(config.rpc_url, deployment),
            SystemClock(),
            record,
        )


def inner_of(config: NodeConfig) -> InnerProcess:
    """The network's inner tier."""
    log_file = config.state_folder / _INNER_LOG_FILE
    return InnerProcess(config.inner_command, config.network_file, log_file, SystemClock())


def open_record(config: NodeConfig) -> NodeRecord:
    """The node's record, made if it is not there yet."""
    return NodeRecord(config.state_folder / _RECORD_FILE)


def read_deployment(config: NodeConfig) -> Deployment:
    """The contracts that the node talks to.

    Raises:
        SetupError: the deployment file is missing or wrong.
    """
    try:
        return Deployment.parse(config.deployment_file.read_bytes())
    except OSError as error:
        raise SetupError(f"{config.deployment_file} cannot be read: {error.strerror}") from error
    except ContractViolation as error:
        raise SetupError(f"{config.deployment_file}: {error}") from error
