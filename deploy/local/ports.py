"""Free ports."""

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """``count`` different ports that nothing here listens at; held together, so that none is given twice."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports.append(int(listener.getsockname()[1]))
        return ports
