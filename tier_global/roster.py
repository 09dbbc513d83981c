"""Which connected node is which account: a connection that is new is asked to sign a random challenge."""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.messages import Domain
from contracts.signatures import personal_digest
from tier_global.backoff import Backoff
from tier_global.clock import Clock
from tier_global.connection_book import ConnectionBook
from tier_global.errors import HubRefused, HubUnavailable
from tier_global.exchange import IdentifyReply, IdentifyRequest, identity_text
from tier_global.mailbox import Arrival, Mailbox
from tier_global.signers import Signers

log = logging.getLogger("collegium.conductor")


@dataclass(frozen=True)
class _Greeting:
    connection: int
    challenge: str


class Roster:
    """Account by connection, for one round.

    With ``registered_only``, a connection can be that account only for which its Flower key is registered.
    """

    def __init__(
        self,
        task: int,
        round_number: int,
        domain: Domain,
        mailbox: Mailbox,
        signers: Signers,
        clock: Clock,
        book: ConnectionBook,
        *,
        registered_only: bool,
    ) -> None:
        self._registered_only = registered_only
        self._registered: Mapping[int, str] = {}
        self._task = task
        self._round = round_number
        self._domain = domain
        self._mailbox = mailbox
        self._signers = signers
        self._greetings: dict[str, _Greeting] = {}
        self._impostors: set[int] = set()
        self._failures = Backoff[int](clock)
        self._book = book
        self._node_of = book.read()
        self._connection_of = {node: connection for connection, node in self._node_of.items()}
        self._proven: set[int] = set()

    def connection_of(self, node: str) -> int | None:
        """The newest connection that is ``node``, as it has proved now or in an earlier round."""
        connection = self._connection_of.get(node)
        return connection if connection is not None and self._may_be(connection, node) else None

    def doubt(self, node: str) -> bool:
        """An answer is not what ``node`` would give. Drop its connection if it was only a hint: then True."""
        connection = self._connection_of.get(node)
        if connection is None or connection in self._proven:
            return False
        del self._connection_of[node], self._node_of[connection]
        return True

    def greet_newcomers(self) -> None:
        """Ask every connection that has not been asked who it is."""
        self._registered = self._mailbox.connected()
        self._forget_contradicted_hints()
        waiting = {greeting.connection for greeting in self._greetings.values()}
        known = waiting | self._node_of.keys() | self._impostors
        for connection in sorted(self._registered.keys() - known):
            if self._failures.is_over(connection):
                self._greet(connection)

    def hear(self, arrival: Arrival) -> str | None:
        """Take in the answer to a greeting; the node if it proved who it is."""
        greeting = self._greetings.pop(arrival.letter, None)
        if greeting is None:
            return None
        reply = arrival.reply
        if not isinstance(reply, IdentifyReply):
            log.warning("identify: a node did not say who it is: %s", arrival.failure or reply)
            self._failures.count(greeting.connection)
            return None
        try:
            is_the_node = self._has_signed(reply, greeting)
        except (HubRefused, HubUnavailable) as error:
            log.warning("identify: %s", error)
            self._failures.count(greeting.connection)
            return None
        if not self._may_be(greeting.connection, reply.node):
            log.warning(
                "identify: a node says that it is %s, and its Flower key is registered for %s",
                reply.node,
                self._registered.get(greeting.connection) or "nobody",
            )
            self._impostors.add(greeting.connection)
            return None
        if not is_the_node:
            log.warning("identify: a node says that it is %s, and its signature does not", reply.node)
            self._impostors.add(greeting.connection)
            return None
        self._proven.add(greeting.connection)
        self._node_of[greeting.connection] = reply.node
        self._connection_of[reply.node] = greeting.connection
        self._book.write({connection: node for node, connection in self._connection_of.items()})
        return reply.node

    def owns(self, letter: str) -> bool:
        """Whether ``letter`` is a greeting that waits for its answer."""
        return letter in self._greetings

    def _forget_contradicted_hints(self) -> None:
        """Drop what an earlier round has written of a connection that is registered for another node."""
        for connection, node in list(self._node_of.items()):
            if connection in self._registered and not self._may_be(connection, node):
                del self._node_of[connection]
                if self._connection_of.get(node) == connection:
                    del self._connection_of[node]

    def _may_be(self, connection: int, node: str) -> bool:
        """Whether the Flower key of a connection is registered for the node, where keys are registered."""
        return not self._registered_only or self._registered.get(connection) == node

    def _greet(self, connection: int) -> None:
        challenge = "0x" + secrets.token_bytes(32).hex()
        request = IdentifyRequest(task=self._task, round=self._round, challenge=challenge)
        for letter in self._mailbox.send(request, [connection]).values():
            self._greetings[letter] = _Greeting(connection, challenge)

    def _has_signed(self, reply: IdentifyReply, greeting: _Greeting) -> bool:
        text = identity_text(self._domain.chain_id, reply.node, self._task, self._round, greeting.challenge)
        return self._signers.have_signed(reply.node, personal_digest(text), reply.signature)
