"""Starting a process: what is made then stays, so nobody looks for garbage in it."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """A block whose objects the garbage collector never looks at; the rest of the process is as usual.

    Modules, routes and schemas are hundreds of thousands of objects that live as long as the process. Looking
    through them again and again takes a fifth of a start, and is a pause at every full collection after it.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
