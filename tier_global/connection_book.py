"""Which connection was which node in earlier rounds: a hint, so that a round need not ask everybody again.

A hint is never trusted: whoever a request reaches, its answer counts only with the asked node's signature. A
node that starts anew gets a new connection, which no hint names, and is asked who it is.
"""

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

log = logging.getLogger("collegium.conductor")


class ConnectionBook(Protocol):
    """Node by connection, from one conductor to the next."""

    def read(self) -> dict[int, str]:
        """What earlier conductors have written."""

    def write(self, node_of: Mapping[int, str]) -> None:
        """Replace what is written."""


class ConnectionBookFile:
    """A book in a JSON file; one that cannot be read or written is no book, and no harm."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[int, str]:
        try:
            return {
                int(connection): str(node) for connection, node in json.loads(self._path.read_bytes()).items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            log.warning("the list of known connections cannot be read: %s", error)
            return {}

    def write(self, node_of: Mapping[int, str]) -> None:
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=".connections-", dir=self._path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(node_of, file)
            Path(temporary).replace(self._path)
        except OSError as error:
            log.warning("the list of known connections cannot be written: %s", error)
