"""Flower's SuperNode as a process that ends with the one that started it, and when its work has ended."""

import os
import sys

from flwr.supernode.cli import flower_supernode

from tier_global.parent import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(sys.argv.pop(1)))
    flower_supernode()
    # It returns where the hub sent what it did not expect. Its own API would go on for ever, without a hub.
    os._exit(1)
