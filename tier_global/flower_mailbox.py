"""The mailbox of the conductor on Flower: letters are Flower messages, connections are SuperNode ids."""

from collections.abc import Mapping, Sequence

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from tier_global.errors import MalformedExchange
from tier_global.exchange import Request
from tier_global.mailbox import Arrival
from tier_global.phases import Stage
from tier_global.wire import decode_reply, encode

_MESSAGE_TYPE = {Stage.TRAIN: MessageType.TRAIN, Stage.COMMIT: MessageType.EVALUATE}
"""The Flower message type of a stage; the others are queries."""


class FlowerMailbox:
    """Letters through a Grid. It pulls replies itself: the Grid's own waiting looks every three seconds."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._open: set[str] = set()

    def connected(self) -> Mapping[int, str]:
        return {node.node_id: node.name for node in self._grid.get_nodes()}

    def send(self, request: Request, to: Sequence[int]) -> dict[int, str]:
        records = encode(request)
        message_type = _MESSAGE_TYPE.get(Stage(request.stage), MessageType.QUERY)
        messages = [Message(records, dst_node_id=node_id, message_type=message_type) for node_id in to]
        message_ids = list(self._grid.push_messages(messages))
        letters = {
            node_id: letter for node_id, letter in zip(to, message_ids, strict=False) if letter is not None
        }
        self._open.update(letters.values())
        return letters

    def collect(self) -> list[Arrival]:
        if not self._open:
            return []
        arrivals = [_arrival(message) for message in self._grid.pull_messages(self._open)]
        self._open.difference_update(arrival.letter for arrival in arrivals)
        return arrivals


def _arrival(message: Message) -> Arrival:
    letter = message.metadata.reply_to_message_id
    if message.has_error():
        return Arrival(
            letter, None, f"Flower error {message.error.code}: {(message.error.reason or '')[:300]}"
        )
    try:
        return Arrival(letter, decode_reply(message.content))
    except MalformedExchange as error:
        return Arrival(letter, None, str(error)[:300])
