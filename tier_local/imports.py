"""Making the heavy imports lighter."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting() -> Iterator[None]:
    """No garbage collection inside; what is there afterwards counts as permanent.

    Importing torch, transformers and PEFT makes a million objects that stay. The collector would walk
    through them again and again: a sixth of the five seconds that the imports take.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
