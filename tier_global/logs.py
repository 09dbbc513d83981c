"""Where the node and the conductor say what they do: lines on stdout, which Flower passes on."""

import logging
import sys


def show_logs() -> None:
    """Print our own log. Flower's logger and those of the libraries keep their own settings."""
    logger = logging.getLogger("collegium")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
