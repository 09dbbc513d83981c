"""The signing keys of nodes, as the orchestrator knows them; a node may change its own at any time."""

from collections.abc import Callable, Mapping


class Signers:
    """Signing key by node: read once, and again where a signature does not fit."""

    def __init__(self, read: Callable[[], Mapping[str, str]]) -> None:
        self._read = read
        self._known: Mapping[str, str] = {}

    def of(self, node: str) -> str | None:
        """The address of a node's signing key, as last read; None for an unknown node."""
        if node not in self._known:
            self._known = self._read()
        return self._known.get(node)

    def renewed(self, node: str) -> str | None:
        """The same, read now."""
        self._known = self._read()
        return self._known.get(node)
