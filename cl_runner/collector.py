"""Python's garbage collector, which finds next to nothing here."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Without it meanwhile: it walks through all of torch's modules, a fifth of the seconds of their import."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
