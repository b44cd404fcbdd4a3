"""How all figures begin to look."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def plain_style(own: Mapping[Any, Any]) -> Iterator[None]:
    """Matplotlib's own defaults and `own` settings on them, while something is drawn and saved.

    A user's defaults may need what is not here, such as LaTeX, and the same results are to give the same figure.
    """
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()
        rcParams.update(own)
        yield
